// Package house holds the drawing of docs/architecture.md as a table, so that its test can hold the imports
// against it.
package house

// Rooms says which packages of ours each package may import. A package that is not here is not in the drawing.
// Test files may import more: what they stand on is a simulator, a software TPM, a suite.
var Rooms = map[string][]string{
	// roof
	"cmd/agent": {"fault", "keys", "internal/commands", "internal/dial", "internal/durable", "internal/proxy", "internal/sas", "tpm", "hsm", "attest", "identity", "provisioning",
		"provisioning/dps", "provisioning/est", "provisioning/ezca", "provisioning/hand", "renew",
		"remote", "telemetry", "telemetry/spool", "telemetry/iothub", "telemetry/sensors", "telemetry/ingest"},
	"cmd/pkcs11":             {"hsm/module"},
	"cmd/service":            {"packaging/boot"},
	"cmd/station":            {"station", "identity", "internal/commands", "internal/durable", "internal/mtls", "internal/proxy", "internal/web", "fault"},
	"cmd/cloudsim":           {"sim"},
	"examples/bench":         {"examples/stage", "examples/process", "sim"},
	"examples/bench/paho":    {},
	"examples/demo":          {"examples/stage", "examples/process", "sim"},
	"examples/footprint":     {"examples/stage", "examples/process", "sim"},
	"examples/gateway":       {"examples/stage", "examples/process", "sim"},
	"examples/gateway/board": {},
	"examples/stage":         {"examples/process", "sim"}, // what the examples have in common
	"examples/process":       {},

	// floor 4
	"renew": {"provisioning", "identity", "fault"},

	// floor 3
	"provisioning/dps":      {"provisioning", "identity", "internal/mqtt", "internal/web", "internal/mtls", "internal/sas", "fault"},
	"provisioning/est":      {"provisioning", "internal/web", "internal/mtls", "fault"},
	"provisioning/ezca":     {"provisioning", "identity", "internal/web", "internal/mtls", "fault"},
	"provisioning/hand":     {"provisioning", "identity", "internal/durable", "fault"},
	"station":               {"identity", "tpm", "hsm", "keys", "internal/durable", "internal/web", "internal/sas", "fault"},
	"telemetry/iothub":      {"telemetry", "telemetry/spool", "identity", "internal/mqtt", "internal/web", "internal/mtls", "fault"},
	"telemetry/sensors":     {"telemetry", "telemetry/spool", "internal/durable", "fault"},
	"remote":                {"fault"},
	"telemetry/ingest":      {"telemetry/spool", "telemetry/ingest/otlp", "fault"},
	"telemetry/ingest/otlp": {},

	// floor 2
	"provisioning": {"identity", "fault"},
	"telemetry":    {"telemetry/spool", "identity", "fault"},

	// floor 1
	"tpm":             {"keys", "internal/durable", "fault"},
	"hsm":             {"hsm/wire", "keys", "internal/durable", "fault"},
	"hsm/module":      {"hsm/wire"}, // cgo: linked only by cmd/pkcs11
	"attest":          {"keys"},
	"identity":        {"keys", "internal/durable", "fault"},
	"telemetry/spool": {"internal/durable", "fault"},

	// ground
	"fault":             {},
	"keys":              {},
	"hsm/wire":          {},
	"internal/dial":     {},
	"internal/durable":  {"fault"},
	"internal/mtls":     {"fault"},
	"internal/mqtt":     {"internal/mtls", "fault"},
	"internal/web":      {"internal/mtls", "fault"},
	"internal/proxy":    {"internal/mtls", "fault"},
	"internal/sas":      {},
	"internal/commands": {"fault"},
	"internal/house":    {},

	// beside the house: what is shipped around the programs, and how
	"packaging/boot":   {},
	"packaging/ledger": {},
	"packaging/sbom":   {},
	"packaging/yocto":  {},

	// beside the house: for tests only
	"keys/keystest": {"keys"},
	"tpm/tpmtest":   {},
	"hsm/hsmtest":   {"hsm", "tpm/tpmtest"},

	// the garden: a simulator that shares code with its client proves nothing
	"sim": {},
}

// Outside says where a third-party module may be imported. Its types do not leave that room.
var Outside = map[string][]string{
	"github.com/google/go-tpm":            {"tpm", "tpm/tpmtest", "attest"},
	"github.com/ThalesGroup/crypto11":     {"hsm/module"},
	"github.com/miekg/pkcs11":             {"hsm/module"}, // the types of crypto11's own door
	"github.com/eclipse/paho.mqtt.golang": {"internal/mqtt", "examples/bench/paho"},
	"go.yaml.in/yaml/v3":                  {"cmd/agent"},
	"github.com/gorilla/websocket":        {"sim"},
	"github.com/kardianos/service":        {"cmd/service"},
	"github.com/Azure/azure-sdk-for-go":   {"station"},
	"golang.org/x/sync":                   {"cmd/agent"},
	"golang.org/x/sys":                    {"cmd/agent", "internal/mqtt", "hsm", "hsm/wire", "hsm/module", "hsm/hsmtest"},
}
