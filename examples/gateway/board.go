package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// board is the emulated gateway: its power, its disk, its TPM, and four wires. Nothing of it is the host's but these.
type board struct {
	dir     string // of sockets and logs
	cache   string // vmlinuz and initrd
	stick   string // image of a memory stick
	root    *disk
	data    *disk             // what must survive: /var/lib/devid-agent
	onLine  func(line string) // of the agent's log
	onPress func(line string)

	wires map[string]net.Listener

	mu       sync.Mutex
	emulator *exec.Cmd
	chip     *exec.Cmd
	on       time.Time // since when there is power
	hands    net.Conn
	answers  *bufio.Reader
}

// power is how the board is switched on.
type power struct {
	readOnly bool
	clock    string // what its clock shows, as qemu wants it; "" is the right time
}

// lay lays the wires. They stay, whatever happens to the board.
func (b *board) lay() error {
	b.wires = map[string]net.Listener{}
	for _, name := range []string{"root", "data", "hands", "log", "press"} {
		l, err := net.Listen("unix", filepath.Join(b.dir, name))
		if err != nil {
			return err
		}
		b.wires[name] = l
	}
	go b.root.serve(b.wires["root"])
	go b.data.serve(b.wires["data"])
	go lines(b.wires["log"], b.onLine)
	go lines(b.wires["press"], b.onPress)
	return nil
}

// lines hands over each whole line of each connection: what the power cut in two is nothing.
func lines(l net.Listener, say func(string)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			say(line[:len(line)-1])
		}
		_ = conn.Close()
	}
}

// switchOn gives the board power, and returns when it lends its hands.
func (b *board) switchOn(ctx context.Context, p power) error {
	if err := b.powerTPM(ctx); err != nil {
		return err
	}
	cmd := exec.Command("qemu-system-aarch64", b.arguments(p)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := os.OpenFile(filepath.Join(b.dir, "console.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the board: %w", err)
	}
	b.mu.Lock()
	b.emulator, b.on = cmd, time.Now()
	b.mu.Unlock()
	return b.shake(ctx)
}

func (b *board) arguments(p power) []string {
	mode, clock := "rw", "utc"
	if p.readOnly {
		mode = "ro"
	}
	if p.clock != "" {
		clock = p.clock
	}
	args := []string{
		"-M", "virt,gic-version=3", "-cpu", "cortex-a53", "-smp", "2", "-m", "512", "-accel", "tcg,thread=multi", "-nographic", "-no-reboot",
		"-nodefaults", "-serial", "stdio", "-rtc", "base=" + clock,
		"-kernel", filepath.Join(b.cache, "vmlinuz"), "-initrd", filepath.Join(b.dir, "initrd"),
		"-append", "console=ttyAMA0 root=/dev/vda " + mode + " quiet net.ifnames=0 systemd.show_status=false systemd.firstboot=off",
		"-drive", "if=none,id=root,format=raw,cache=writeback,file=nbd+unix:///?socket=" + filepath.Join(b.dir, "root"),
		"-device", "virtio-blk-pci,drive=root,serial=root",
		"-drive", "if=none,id=data,format=raw,cache=writeback,file=nbd+unix:///?socket=" + filepath.Join(b.dir, "data"),
		"-device", "virtio-blk-pci,drive=data,serial=data",
		"-drive", "if=none,id=stick,format=raw,readonly=on,file=" + b.stick, "-device", "virtio-blk-pci,drive=stick,serial=stick",
		"-device", "virtio-rng-pci", "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-serial-pci",
	}
	for _, wire := range []string{"tpm", "hands", "log", "press"} {
		args = append(args, "-chardev", "socket,id="+wire+",path="+filepath.Join(b.dir, wire), "-device", "virtserialport,name="+wire+",chardev="+wire)
	}
	return args
}

// powerTPM starts the chip. It is a blank one the first time, and keeps what it holds from then on.
func (b *board) powerTPM(ctx context.Context) error {
	state, socket := filepath.Join(b.dir, "chip"), filepath.Join(b.dir, "tpm")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	_ = os.Remove(socket)
	b.chip = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--server", "type=unixio,path="+socket,
		"--flags", "not-need-init,startup-clear")
	b.chip.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.chip.Start(); err != nil {
		return fmt.Errorf("start the TPM: %w", err)
	}
	for ctx.Err() == nil {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// shake waits for the board's hands.
func (b *board) shake(ctx context.Context) error {
	l := b.wires["hands"].(*net.UnixListener)
	if deadline, ok := ctx.Deadline(); ok {
		_ = l.SetDeadline(deadline)
	}
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("the board does not start: %w", err)
	}
	b.hands, b.answers = conn, bufio.NewReader(conn)
	if _, err := b.answer(ctx); err != nil {
		return fmt.Errorf("the board does not come up: %w", err)
	}
	return nil
}

// do runs a command on the board as root, and returns what it printed.
func (b *board) do(ctx context.Context, format string, args ...any) (string, error) {
	shell := fmt.Sprintf(format, args...)
	if err := json.NewEncoder(b.hands).Encode(struct{ Shell string }{shell}); err != nil {
		return "", fmt.Errorf("%s: %w", shell, err)
	}
	out, err := b.answer(ctx)
	if err != nil {
		return out, fmt.Errorf("on the board: %s: %w\n%s", shell, err, out)
	}
	return out, nil
}

func (b *board) answer(ctx context.Context) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = b.hands.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := b.answers.ReadBytes('\n')
	if err != nil {
		return "", err
	}
	var d struct {
		Out  string
		Code int
	}
	if err := json.Unmarshal(line, &d); err != nil {
		return "", err
	}
	if d.Code != 0 {
		return d.Out, errors.New("exit code " + strconv.Itoa(d.Code))
	}
	return d.Out, nil
}

// pull takes the power away, whatever the board is doing. It may be called from anywhere.
func (b *board) pull() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.emulator != nil {
		_ = b.emulator.Process.Kill()
	}
}

// over waits for the end of the board, and lets the disks forget what they had not been told to keep.
func (b *board) over() (kept, forgotten int, err error) {
	_ = b.emulator.Wait() // killed, or switched off: its disk tells how
	_ = b.chip.Process.Signal(syscall.SIGTERM)
	_ = b.chip.Wait()
	_ = b.hands.Close()
	b.mu.Lock()
	b.emulator = nil
	b.mu.Unlock()
	kept, forgotten, err = b.data.cut()
	more, lost, fault := b.root.cut()
	return kept + more, forgotten + lost, errors.Join(err, fault)
}

// tail is the end of the board's console, for when the story went wrong.
func (b *board) tail() string {
	f, err := os.Open(filepath.Join(b.dir, "console.log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-4000), io.SeekStart)
	}
	out, _ := io.ReadAll(f)
	return string(out)
}
