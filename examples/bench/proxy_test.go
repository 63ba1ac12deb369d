package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server that answers with what it hears.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func TestTheProxyDelaysCountsAndCuts(t *testing.T) {
	p, err := startProxy(echo(t), 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("a round trip of 40 ms took %v", took)
	}
	if up, down := p.up.Load(), p.down.Load(); up != 5 || down != 5 {
		t.Errorf("%d bytes up and %d down", up, down)
	}
	p.setAway(true)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlived the cut")
	}
	again, err := net.Dial("tcp", p.address())
	if err == nil {
		defer again.Close()
		if _, err = again.Read(make([]byte, 1)); err == nil {
			t.Error("somebody was let in while the network was away")
		}
	}
	if n := len(p.connections()); n != 1 {
		t.Errorf("%d connections were let in", n)
	}
}
