package tpm

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// handles lists what the TPM has in the range.
func (t *session) handles(first, last tpm2.TPMHandle) ([]tpm2.TPMHandle, error) {
	var all []tpm2.TPMHandle
	for {
		list, more, err := handles(t.exchange, first, 64)
		if err != nil {
			return nil, label("list the handles of the TPM", err)
		}
		for _, h := range list {
			if h > last {
				return all, nil
			}
			all = append(all, h)
		}
		if !more || len(list) == 0 {
			return all, nil
		}
		first = list[len(list)-1] + 1
	}
}

const nvChunk = 512 // every TPM can read that much at once

// readNV reads an index that everybody may read.
func (t *session) readNV(index tpm2.TPMHandle) ([]byte, error) {
	doing := fmt.Sprintf("read the NV index %#x", uint32(index))
	area, err := t.nvArea(index)
	if err != nil {
		return nil, label(doing, err)
	}
	var content []byte
	for len(content) < area.size {
		reader, err := t.reader(area)
		if err != nil {
			return nil, err
		}
		a, err := t.run(tpm2.TPMCCNVRead, []object{reader, area.shut()}, u16(min(nvChunk, area.size-len(content))), u16(len(content)))
		if err != nil {
			return nil, label(doing, err)
		}
		part := a.sized()
		if len(part) == 0 || a.short {
			return nil, fmt.Errorf("%s: it ends after %d of %d bytes", doing, len(content), area.size)
		}
		content = append(content, part...)
	}
	return content, nil
}

// nvArea is an NV index with what a reader needs to know of it.
type nvArea struct {
	object
	attributes uint32
	size       int
}

// Bits of TPMA_NV (part 2, 13.4).
const ownerRead, authRead = 1 << 17, 1 << 18

func (t *session) nvArea(index tpm2.TPMHandle) (nvArea, error) {
	a, err := t.run(tpm2.TPMCCNVReadPublic, []object{bare(index)})
	if err != nil {
		return nvArea{}, err
	}
	public := answer{rest: a.sized()} // TPMS_NV_PUBLIC: index, name algorithm, attributes, policy, size
	public.take(4 + 2)
	area := nvArea{object: password(index, a.name()), attributes: public.uint32()}
	public.sized()
	area.size = int(public.uint16())
	return area, errors.Join(a.whole(), public.whole())
}

// reader is who may read the index, opened for one command: itself, or else the owner.
func (t *session) reader(area nvArea) (object, error) {
	if area.attributes&authRead == 0 && area.attributes&ownerRead != 0 {
		return t.owner()
	}
	return area.object, nil
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
