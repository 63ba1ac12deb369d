package iothub

import (
	"bytes"
	"compress/gzip"
)

// zipper compresses one message after the other. Its tables take about 800 KB, from the first message on.
type zipper struct {
	writer *gzip.Writer
	out    bytes.Buffer
}

// compress returns body with its content encoding, or body as it is where that is not shorter.
func (z *zipper) compress(body []byte, encoding string) ([]byte, string) {
	if z.writer == nil {
		z.writer, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is good
	}
	z.out.Reset()
	z.writer.Reset(&z.out)
	if _, err := z.writer.Write(body); err != nil || z.writer.Close() != nil || z.out.Len() >= len(body) {
		return body, encoding
	}
	return bytes.Clone(z.out.Bytes()), "gzip"
}
