package tpm

import (
	"encoding/asn1"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// handles lists what the TPM has in the range.
func (t *session) handles(first, last tpm2.TPMHandle) ([]tpm2.TPMHandle, error) {
	var all []tpm2.TPMHandle
	for {
		answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: 64}.Execute(t)
		if err != nil {
			return nil, label("list the handles of the TPM", err)
		}
		list, err := answer.CapabilityData.Data.Handles()
		if err != nil {
			return nil, fmt.Errorf("handles of the TPM: %w", err)
		}
		for _, h := range list.Handle {
			if h > last {
				return all, nil
			}
			all = append(all, h)
		}
		if !answer.MoreData || len(list.Handle) == 0 {
			return all, nil
		}
		first = list.Handle[len(list.Handle)-1] + 1
	}
}

const nvChunk = 512 // every TPM can read that much at once

// readNV reads an index that everybody may read.
func (t *session) readNV(index tpm2.TPMHandle) ([]byte, error) {
	doing := fmt.Sprintf("read the NV index %#x", uint32(index))
	public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t)
	if err != nil {
		return nil, label(doing, err)
	}
	area, err := public.NVPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	reader := password(index, public.NVName)
	if !area.Attributes.AuthRead && area.Attributes.OwnerRead {
		if reader, err = t.owner(); err != nil {
			return nil, err
		}
	}
	var content []byte
	for len(content) < int(area.DataSize) {
		answer, err := tpm2.NVRead{AuthHandle: reader, NVIndex: tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Size: min(nvChunk, area.DataSize-uint16(len(content))), Offset: uint16(len(content))}.Execute(t)
		if err != nil {
			return nil, label(doing, err)
		}
		if len(answer.Data.Buffer) == 0 {
			return nil, fmt.Errorf("%s: it ends after %d of %d bytes", doing, len(content), area.DataSize)
		}
		content = append(content, answer.Data.Buffer...)
	}
	return content, nil
}

// certificates cuts DER certificates apart. An index is often larger than what it holds: the rest is padding.
func certificates(content []byte) [][]byte {
	var all [][]byte
	for len(content) > 0 {
		var one asn1.RawValue
		rest, err := asn1.Unmarshal(content, &one)
		if err != nil || one.Tag != asn1.TagSequence || !one.IsCompound {
			return all
		}
		all, content = append(all, one.FullBytes), rest
	}
	return all
}

// addIssuers adds the certificates above the endorsement certificate that the TPM holds. They are cut where an index
// ends, so that only the whole is DER.
func (t *session) addIssuers(e *endorsement, indexes []tpm2.TPMHandle) error {
	var content []byte
	for _, index := range indexes {
		if index < firstEKChain || index > lastEKChain {
			continue
		}
		part, err := t.readNV(index)
		if err != nil {
			return err
		}
		content = append(content, part...)
	}
	e.chain = append(e.chain, certificates(content)...)
	return nil
}
