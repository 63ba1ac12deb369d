package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

const device = "gateway-0015"

// rig is what the agent is measured on.
type rig struct {
	options
	dir, run string
	cloud    *sim.Cloud
	tpm      *exec.Cmd
	process  *exec.Cmd
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) startTPM(ctx context.Context) error {
	if err := os.Mkdir(r.file("tpm"), 0o700); err != nil {
		return err
	}
	socket := r.file("tpm.sock")
	r.tpm = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+r.file("tpm"), "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	r.tpm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.tpm.Start(); err != nil {
		return fmt.Errorf("start the TPM: %w (apt-get install swtpm)", err)
	}
	return until(ctx, "the TPM", func() bool { _, err := os.Stat(socket); return err == nil })
}

// equip gives the device what the factory gives it.
func (r *rig) equip() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := r.cloud.Bootstrap(device, key.Public(), 24*time.Hour)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var certificate []byte
	for _, c := range chain {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	text, err := os.ReadFile(r.config)
	if err != nil {
		return err
	}
	values := map[string]string{"DIR": r.dir, "RUN": r.run, "ID_SCOPE": sim.IDScope, "DPS": r.cloud.DPSAddr(), "HUB": r.cloud.HubAddr()}
	return errors.Join(
		os.WriteFile(r.file("bootstrap.pem"), certificate, 0o644),
		os.WriteFile(r.file("bootstrap.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(r.file("roots.pem"), r.cloud.RootsPEM(), 0o644),
		os.WriteFile(r.file("agent.yaml"), []byte(os.Expand(string(text), func(name string) string { return values[name] })), 0o644),
	)
}

// start starts the agent, with the limit of memory that its unit has.
func (r *rig) start() error {
	log, err := os.OpenFile(r.file("agent.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r.process = exec.Command(r.agent, "run", "--config", r.file("agent.yaml"))
	r.process.Env = append(os.Environ(), "GOMEMLIMIT=48MiB", "GOMAXPROCS=1")
	r.process.Stderr = log
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return r.process.Start()
}

// halt ends the agent, as systemd does.
func (r *rig) halt() error {
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return r.process.Wait()
}

func (r *rig) stop() {
	for _, cmd := range []*exec.Cmd{r.process, r.tpm} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

func until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s: %w", what, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
