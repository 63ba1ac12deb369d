package station

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// SSH reaches devices by the system's own ssh program, with its configuration, agents and known hosts.
type SSH struct {
	Program string   // ssh when empty
	Options []string // for ssh, before the host, as -p 2222 or -o ProxyJump=bastion
	// Agent is the command on the device; devid-agent when empty. csr and import follow it, or stand where {} is in it:
	// sudo devid-agent {} --config /etc/gateway.yaml
	Agent string
}

// maxOutput is how much of what a device says is read.
const maxOutput = 64 << 10

// CheckHost says why host cannot be one for ssh, or nil.
func CheckHost(host string) error {
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsAny(host, " \t\r\n;|&$`'\"\\<>()") {
		return fault.AskOperator(fmt.Errorf("%q is no host", host), "write HOST, USER@HOST or the name of a Host in ~/.ssh/config")
	}
	return nil
}

// Reach is the device at host.
func (s SSH) Reach(host string) Target { return sshTarget{s, host} }

type sshTarget struct {
	SSH
	host string
}

func (t sshTarget) Request(ctx context.Context) ([]byte, error) { return t.run(ctx, nil, "csr") }

func (t sshTarget) Install(ctx context.Context, chain []byte) error {
	_, err := t.run(ctx, chain, "import", "-")
	return err
}

func (t sshTarget) run(ctx context.Context, input []byte, words ...string) ([]byte, error) {
	if err := CheckHost(t.host); err != nil {
		return nil, err
	}
	program := t.Program
	if program == "" {
		program = "ssh"
	}
	// BatchMode: nobody is there to be asked for a password.
	args := append([]string{"-o", "BatchMode=yes", "-o", "ConnectTimeout=15"}, t.Options...)
	args = append(args, "--", t.host, t.command(strings.Join(words, " ")))
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = 5 * time.Second // what ssh has started may hold its pipes
	cmd.Stdin = bytes.NewReader(input)
	out, errOut := &bounded{}, &bounded{}
	cmd.Stdout, cmd.Stderr = out, errOut
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && out.over {
		err = fault.As(fault.Permanent, fmt.Errorf("it says more than %d bytes", maxOutput))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", t.host, words[0], failedSSH(err, errOut.String()))
	}
	return out.Bytes(), nil
}

// command is what the device's shell is told.
func (s SSH) command(words string) string {
	switch {
	case s.Agent == "":
		return "devid-agent " + words
	case strings.Contains(s.Agent, "{}"):
		return strings.ReplaceAll(s.Agent, "{}", words)
	}
	return s.Agent + " " + words
}

// failedSSH says who can help: ssh ends with 255 where it did not get there itself (ssh(1)), and a shell with 127 where
// there is no such command (POSIX, "Exit Status for Commands").
func failedSSH(err error, said string) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fault.AskOperator(err, "install the ssh program: openssh-client")
	}
	err = fmt.Errorf("exit code %d: %s", exit.ExitCode(), printable(lastLines(said)))
	switch exit.ExitCode() {
	case 127:
		return fault.AskOperator(err, "install devid-agent on the device, or say with --agent how it is started there")
	case 255:
		return refusedSSH(err, said)
	}
	return fault.AskOperator(err, "see what the agent says there")
}

// refusedSSH tells what a person has to see to from what time may heal, by ssh's own words.
func refusedSSH(err error, said string) error {
	switch {
	case strings.Contains(said, "Host key verification failed"), strings.Contains(said, "IDENTIFICATION HAS CHANGED"):
		return fault.AskOperator(err, "compare the device's host key, and put it into known_hosts: ssh-keyscan HOST")
	case strings.Contains(said, "Permission denied"):
		return fault.AskOperator(err, "put your key onto the device: ssh-copy-id HOST; ssh asks nobody for a password here")
	case strings.Contains(said, "Could not resolve hostname"), strings.Contains(said, "Bad configuration option"), strings.Contains(said, "usage: ssh"):
		return fault.AskOperator(err, "correct the name, or the options for ssh")
	}
	return err
}

// lastLines leaves out the banner that a device may greet with.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " ")
}

// bounded keeps the first maxOutput bytes, and reads on: ssh is not to hang.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), maxOutput-b.Len())
	b.over = b.over || room < len(p)
	b.Buffer.Write(p[:room])
	return len(p), nil
}

// Folder reaches devices by files: a request NAME.csr, and its chain beside it as NAME.chain.pem.
type Folder struct{ Dir string }

const (
	requestSuffix = ".csr"
	chainSuffix   = ".chain.pem"
)

// Targets lists the requests in the folder, sorted.
func (f Folder) Targets() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(f.Dir, "*"+requestSuffix))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fault.AskOperator(fmt.Errorf("no *%s in %s", requestSuffix, f.Dir), "put there what devid-agent csr --out NAME.csr writes")
	}
	names := []string{}
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	return names, nil
}

// Reach is the device whose request is in the file of that name.
func (f Folder) Reach(name string) Target { return fileTarget{f.Dir, name} }

type fileTarget struct{ dir, name string }

func (t fileTarget) Request(context.Context) ([]byte, error) {
	path := filepath.Join(t.dir, t.name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.AskOperator(err, "put it back, or choose another --order")
	}
	if err != nil {
		return nil, durable.Label("read", path, err)
	}
	if info.Size() > maxOutput {
		return nil, fault.As(fault.Permanent, fmt.Errorf("%s has more than %d bytes", path, maxOutput))
	}
	b, err := os.ReadFile(path)
	return b, durable.Label("read", path, err)
}

func (t fileTarget) Install(_ context.Context, chain []byte) error {
	// Not durable.Open, which sweeps what others are writing here.
	return durable.Look(t.dir).Write(strings.TrimSuffix(t.name, requestSuffix)+chainSuffix, chain)
}
