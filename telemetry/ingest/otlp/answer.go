package otlp

import (
	"encoding/binary"
	"encoding/json"
)

// Success is an ExportMetricsServiceResponse, in JSON or in Protocol Buffers. refused data points were not stored, and why
// is the reason; 0 says that all were.
func Success(inJSON bool, refused int, why string) []byte {
	switch {
	case inJSON && refused == 0:
		return []byte("{}")
	case inJSON:
		type partial struct {
			Refused int    `json:"rejectedDataPoints,string"`
			Why     string `json:"errorMessage"`
		}
		answer, _ := json.Marshal(map[string]partial{"partialSuccess": {refused, why}}) // a number and a text always go
		return answer
	case refused == 0:
		return nil
	}
	partial := binary.AppendUvarint(appendTag(nil, 1, varint), uint64(refused))
	return appendBytes(nil, 1, appendBytes(partial, 2, why))
}

// Status is a google.rpc.Status, the body of each refusal. OTLP does not use its code.
func Status(inJSON bool, why string) []byte {
	if inJSON {
		return append(appendText([]byte(`{"message":`), why), '}')
	}
	return appendBytes(nil, 2, why)
}
