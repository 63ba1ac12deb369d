package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// broker is mosquitto: mutual TLS for those who are measured, a plain listener for the counter.
type broker struct {
	process    *exec.Cmd
	tls, plain string // addresses
	server     credential
	log        string
}

func startBroker(ctx context.Context, dir string, cloud *sim.Cloud) (*broker, error) {
	server, err := makeServer(dir)
	if err != nil {
		return nil, err
	}
	b := &broker{server: server, tls: freeAddress(), plain: freeAddress(), log: filepath.Join(dir, "broker.log")}
	clients := filepath.Join(dir, "clients.pem")
	if err := stage.WriteChain(clients, cloud.OperationalCA().Raw, cloud.FactoryCA().Raw); err != nil {
		return nil, err
	}
	// Without set_tcp_nodelay the first acknowledgement comes 40 ms late, to everybody.
	text := fmt.Sprintf("user %s\nper_listener_settings true\nset_tcp_nodelay true\nmax_queued_messages 0\nlog_type error\nlog_type warning\n"+
		"listener %s 127.0.0.1\nallow_anonymous true\n"+
		"listener %s 127.0.0.1\ncafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\n",
		user(), port(b.plain), port(b.tls), clients, server.certificate, server.key)
	b.process, err = startMosquitto(ctx, dir, "broker", text, b.tls, b.plain)
	return b, err
}

// startMosquitto starts one with that configuration, and returns when it listens.
func startMosquitto(ctx context.Context, dir, name, text string, addresses ...string) (*exec.Cmd, error) {
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log := filepath.Join(dir, name+".log")
	cmd, err := process.Start(log, nil, program("mosquitto"), "-c", file)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if err := until(ctx, name+" to listen", func() bool { return listens("tcp", address) || !process.Lives(cmd) }); err != nil {
			return nil, err
		}
	}
	if !process.Lives(cmd) {
		return nil, fmt.Errorf("%s has ended: %s", name, process.Tail(log))
	}
	return cmd, nil
}

// user is who mosquitto becomes: root would make it another one, who cannot read our directory.
func user() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return "mosquitto"
}

// program finds what Debian has put in /usr/sbin.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

// freeAddress is one of the loopback where nobody listens.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:" + strconv.Itoa(18883)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

func listens(network, address string) bool {
	c, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
