package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
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
	ended    chan struct{} // closed when the emulator has
	chip     *exec.Cmd
	on       time.Time // since when there is power
	hands    net.Conn  // nil until the board has lent them
	answers  *bufio.Reader
	orders   int // so far: an answer names its order
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

// switchOn gives the board power, and its TPM, which is a blank one the first time. It returns when the board lends its hands.
func (b *board) switchOn(ctx context.Context, p power) error {
	chip, err := stage.StartTPM(ctx, filepath.Join(b.dir, "chip"), filepath.Join(b.dir, "tpm"))
	if err != nil {
		return err
	}
	b.chip = chip
	hands, ended := b.wires["hands"].(*net.UnixListener), make(chan struct{})
	_ = hands.SetDeadline(time.Time{})
	cmd, err := process.Start(b.console(), nil, "qemu-system-aarch64", b.arguments(p)...)
	if err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // killed, or switched off: its disk tells how
		_ = hands.SetDeadline(time.Unix(1, 0))
		close(ended)
	}()
	b.mu.Lock()
	b.emulator, b.ended, b.on = cmd, ended, time.Now()
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
		"-append", "console=ttyAMA0 root=/dev/vda " + mode + " quiet net.ifnames=0 systemd.show_status=error systemd.firstboot=off " +
			"systemd.default_timeout_start_sec=10min systemd.default_device_timeout_sec=10min", // emulation on a loaded machine is slow
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

// shake waits for the board's hands, and for no board that has ended.
func (b *board) shake(ctx context.Context) error {
	stop := context.AfterFunc(ctx, b.pull)
	defer stop()
	conn, err := b.wires["hands"].Accept()
	if err != nil {
		return fmt.Errorf("the board does not start: %w", err)
	}
	b.hands, b.answers = conn, bufio.NewReader(conn)
	if _, err := b.answer(ctx, 0); err != nil {
		return fmt.Errorf("the board does not come up: %w", err)
	}
	return nil
}

// do runs a command on the board as root, and returns what it printed.
func (b *board) do(ctx context.Context, format string, args ...any) (string, error) {
	shell := fmt.Sprintf(format, args...)
	b.orders++
	order := struct {
		N     int
		Shell string
	}{b.orders, shell}
	if err := json.NewEncoder(b.hands).Encode(order); err != nil {
		return "", fmt.Errorf("%s: %w", shell, err)
	}
	out, err := b.answer(ctx, b.orders)
	if err != nil {
		return out, fmt.Errorf("on the board: %s: %w\n%s", shell, err, out)
	}
	return out, nil
}

// answer waits for the answer to order n. What comes before it was waited for by somebody who has given up, and may be a piece.
func (b *board) answer(ctx context.Context, n int) (string, error) {
	_ = b.hands.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = b.hands.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		line, err := b.answers.ReadBytes('\n')
		if err != nil {
			return "", err
		}
		var d struct {
			N    int
			Out  string
			Code int
		}
		if json.Unmarshal(line, &d) != nil || d.N != n {
			continue
		}
		if d.Code != 0 {
			return d.Out, errors.New("exit code " + strconv.Itoa(d.Code))
		}
		return d.Out, nil
	}
}

// complaints are what the board's systemd has to say when the story went wrong, where its hands still answer.
func (b *board) complaints() string {
	if b.hands == nil {
		return "(its hands were never lent)"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := b.do(ctx, "systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend; journalctl --boot --quiet --unit=board-tpm --lines=10; "+
		"journalctl --boot --quiet --priority=warning --lines=20")
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return out
}

// pull takes the power away, whatever the board is doing. It may be called from anywhere.
func (b *board) pull() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.emulator != nil {
		_ = b.emulator.Process.Kill()
	}
}

// over waits for the end of the board, and lets the disks forget what they had not been told to keep. A board that does not
// end in time is an error.
func (b *board) over(ctx context.Context) (kept, forgotten int, err error) {
	stop := context.AfterFunc(ctx, b.pull)
	<-b.ended
	if !stop() {
		return 0, 0, fmt.Errorf("the board does not end: %w", context.Cause(ctx))
	}
	_ = b.chip.Process.Signal(syscall.SIGTERM)
	_ = b.chip.Wait()
	_ = b.hands.Close()
	b.hands = nil
	b.mu.Lock()
	b.emulator = nil
	b.mu.Unlock()
	kept, forgotten, err = b.data.cut()
	more, lost, fault := b.root.cut()
	return kept + more, forgotten + lost, errors.Join(err, fault)
}

// console is where it shows what happens while nobody can log in.
func (b *board) console() string { return filepath.Join(b.dir, "console.log") }
