package mqtt

// Landed reports whether the server has acknowledged the message in this session, without waiting for it.
func (f *Flight) Landed() bool {
	select {
	case <-f.started:
	default:
		return false
	}
	select {
	case <-f.token.Done():
		return f.conn.verdict(f.token) == nil
	default:
		return false
	}
}

// Wake is closed when it makes sense to ask Landed again, and then to ask for another Wake. It is nil where only the end
// of the session is still to come.
func (f *Flight) Wake() <-chan struct{} {
	select {
	case <-f.started:
	default:
		return f.started
	}
	select {
	case <-f.token.Done():
		if f.token.Error() != nil {
			return nil
		}
	default:
	}
	return f.token.Done()
}
