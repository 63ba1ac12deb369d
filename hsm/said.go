package hsm

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
)

// said is what the helper and the vendor's library print: lines for the log at debug, without the PIN.
type said struct {
	log *slog.Logger

	mu     sync.Mutex
	hidden [][]byte
	line   []byte
	long   bool     // the rest of this line is dropped
	first  []string // since the last question, for the case that it was the helper's last
}

const (
	longestLine = 4096
	shownOfLine = 400
	firstLines  = 2
)

// hide makes sure that the PIN is shown in no line, neither as it is nor in hexadecimal.
func (s *said) hide(pin secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lower := hex.EncodeToString(pin)
	s.hidden = [][]byte{pin, []byte(lower), []byte(strings.ToUpper(lower))}
}

// Write implements io.Writer.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range b {
		if c == '\n' {
			s.flush()
			s.long = false
		} else if !s.long {
			s.line = append(s.line, c)
		}
		if len(s.line) >= longestLine {
			s.flush()
			s.long = true
		}
	}
	return len(b), nil
}

func (s *said) flush() {
	text := s.clean(s.line)
	s.line = s.line[:0]
	if text == "" {
		return
	}
	if len(s.first) < firstLines {
		s.first = append(s.first, text)
	}
	s.log.Debug("pkcs11 module says", "line", text)
}

// clean hides the PIN before it cuts, so that no half of it is left over.
func (s *said) clean(line []byte) string {
	for _, h := range s.hidden {
		line = bytes.ReplaceAll(line, h, []byte("[PIN]"))
	}
	text := strings.TrimSpace(strings.ToValidUTF8(string(line), "?"))
	return text[:min(len(text), shownOfLine)]
}

// text is what may be shown of words that come from the helper.
func (s *said) text(words string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clean([]byte(words))
}

// forget starts a new question.
func (s *said) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = s.first[:0]
}

// last is what was said since then.
func (s *said) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	return strings.Join(s.first, "; ")
}
