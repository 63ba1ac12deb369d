package sim

import (
	"fmt"
	"maps"
	"strconv"
)

// AtTwin is the point where a device gets or patches its twin: the request arrived, not yet looked at.
const AtTwin Point = "twin"

// The events of a twin.
const (
	Desired  Kind = "desired"  // a change was made by the back end; Detail says whether the device was told
	Reported Kind = "reported" // a change was made by the device
)

// desiredTopic is where a device hears of changes.
const desiredTopic = "$iothub/twin/PATCH/properties/desired/?$version="

// SetDesired merges a patch into what is desired of device, and returns the new $version. A device that is connected and
// has subscribed hears of it; for others nothing is kept, they read the twin when they come.
func (c *Cloud) SetDesired(device string, patch []byte) (version int, err error) {
	members, err := parsePatch(patch)
	if err != nil {
		return 0, &Refusal{Code: 400004, Message: err.Error()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[device]
	if d == nil {
		return 0, unknownDevice(device)
	}
	if err := d.twin.desired.apply(members); err != nil {
		return 0, &Refusal{Code: 400004, Message: err.Error()}
	}
	version = d.twin.desired.version
	told := maps.Clone(members)
	told["$version"] = version
	heard := d.tell(desiredTopic+strconv.Itoa(version), marshal(told)) != nil
	c.note("hub", Desired, device, fmt.Sprintf("version %d, told: %t", version, heard))
	return version, nil
}

// Twin returns the document of device as the device itself reads it, or nil where there is no such device.
func (c *Cloud) Twin(device string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.devices[device]; d != nil {
		return d.twin.document()
	}
	return nil
}

func unknownDevice(id string) *Refusal {
	return &Refusal{Code: 404001, Message: fmt.Sprintf("device %s is not registered", id)}
}
