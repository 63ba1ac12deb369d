package mqtt

import (
	"net"
	"sync/atomic"
	"time"
)

const (
	// writeTimeout ends a session whose peer does not take a piece of what we write.
	writeTimeout = 30 * time.Second
	// piece is how much has to be taken in that time: links of 1 KB/s are slow, and not broken.
	piece = 8 << 10
	// longestPacket is how long one packet of the server may be on its way while its bytes keep coming.
	longestPacket = 10 * time.Minute
)

// paced is a connection that is given time for each piece that it moves, and not for the whole.
type paced struct {
	net.Conn
	read atomic.Uint64 // bytes
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.read.Add(uint64(n))
	return n, err
}

func (p *paced) Write(b []byte) (written int, err error) {
	for written < len(b) && err == nil {
		if err = p.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			break
		}
		var n int
		n, err = p.Conn.Write(b[written:min(written+piece, len(b))])
		written += n
	}
	return written, err
}
