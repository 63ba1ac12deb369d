package sim

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// webSocketPath is the hub's, and the DPS's too: Microsoft's clients use it for both.
const webSocketPath = "/$iothub/websocket"

// upgrade serves one session of MQTT over WebSocket, MQTT 3.1.1 section 6, and returns at its end.
func (l *link) upgrade(w http.ResponseWriter, r *http.Request, broker *service) {
	l.service = broker
	w.Header().Set("Connection", "close") // after a refusal; a WebSocket's own answer does not say so
	if !slices.Contains(websocket.Subprotocols(r), "mqtt") {
		l.refused(errors.New("WebSocket without the sub-protocol mqtt"))
		http.Error(w, "the sub-protocol is mqtt", http.StatusBadRequest)
		return
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}, CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		l.refused(err)
		return
	}
	conn.SetReadLimit(int64(broker.limit) + 8)
	l.stream = &socket{conn: conn}
	l.talk()
	l.kill()
}

// socket makes a stream of binary messages: packets may span them, and share them.
type socket struct {
	conn *websocket.Conn
	now  io.Reader // the rest of the message that came last
}

func (s *socket) Read(b []byte) (int, error) {
	for {
		if s.now == nil {
			kind, r, err := s.conn.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("a WebSocket message that is not binary")
			}
			s.now = r
		}
		n, err := s.now.Read(b)
		if err == io.EOF {
			s.now, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *socket) Write(b []byte) (int, error) {
	s.conn.SetWriteDeadline(time.Now().Add(unread))
	if err := s.conn.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite says that nothing comes any more.
func (s *socket) CloseWrite() error {
	text := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return s.conn.WriteControl(websocket.CloseMessage, text, time.Now().Add(unread))
}
