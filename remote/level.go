package remote

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Level is how much is logged: what the settings say, or for a while what the cloud asks for. The zero Level with a Var
// is ready for use.
type Level struct {
	Var *slog.LevelVar // of the agent's log

	mu    sync.Mutex
	usual slog.Level
	timer *time.Timer // ends the while; nil where there is none
	turn  int         // counts the whiles
}

const (
	usualWhile = 10 * time.Minute
	leastWhile = time.Second
	mostWhile  = 24 * time.Hour
)

// Set makes level what holds, and what comes back after a while with another one.
func (l *Level) Set(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.usual = level
	if l.timer == nil {
		l.Var.Set(level)
	}
}

// For makes level hold for d, then goes back.
func (l *Level) For(level slog.Level, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		l.usual = l.Var.Level()
	} else {
		l.timer.Stop()
	}
	l.Var.Set(level)
	l.turn++
	turn := l.turn
	l.timer = time.AfterFunc(d, func() { l.back(turn) })
}

// back ends a while, unless another has begun.
func (l *Level) back(turn int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn == turn {
		l.timer = nil
		l.Var.Set(l.usual)
	}
}

// method takes {"level":"debug","for":"10m"}.
func (l *Level) method(_ context.Context, payload []byte) answer {
	var in struct {
		Level string `json:"level"`
		For   string `json:"for"`
	}
	if no := arguments(payload, &in); no != nil {
		return *no
	}
	level, err := ParseLevel(in.Level)
	if err != nil {
		return failed(http.StatusBadRequest, "level: %v", err)
	}
	d, err := duration(in.For, usualWhile, leastWhile, mostWhile)
	if err != nil {
		return failed(http.StatusBadRequest, "for: %v", err)
	}
	l.For(level, d)
	return answer{http.StatusOK, map[string]any{"level": in.Level, "until": time.Now().Add(d).UTC().Format(time.RFC3339)}}
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(text string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if text == strings.ToLower(level.String()) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("%q is none of debug, info, warn, error", clean(text))
}
