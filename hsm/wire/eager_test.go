package wire

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"time"
)

// connected is a pair of sockets, near eager.
func connected(t *testing.T) (near *eager, conn, far *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if conn, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if far, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); far.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &eager{Stream: conn, raw: raw}, conn, far // also where there is but one processor
}

func TestAnEagerReaderMissesNothing(t *testing.T) {
	near, _, far := connected(t)
	text := make([]byte, 100)
	for i := range text {
		text[i] = byte(i)
	}
	go func() {
		for i := range text { // some come while the reader is awake, some while it sleeps
			if i%10 == 0 {
				time.Sleep(3 * eagerness)
			}
			_, _ = far.Write(text[i : i+1])
		}
		far.Close()
	}()
	if err := iotest.TestReader(near, text); err != nil {
		t.Error(err)
	}
}

func TestAnEagerReaderKeepsItsDeadline(t *testing.T) {
	near, conn, _ := connected(t)
	for range 2 * discouraged {
		if err := conn.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	}
}

func TestAReaderThatKeepsMissingSleeps(t *testing.T) {
	e, conn, _ := connected(t)
	if err := conn.SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	looks := 0
	for range 1000 {
		if e.lazy == 0 {
			looks++
		}
		_, _ = e.Read(make([]byte, 1))
	}
	if looks > 25 {
		t.Errorf("looked %d times in 1000 reads for what always came too late", looks)
	}
}
