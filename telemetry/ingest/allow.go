package ingest

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/devid-agent/devid-agent/fault"
)

// Permission lets some clients write some streams. Who is meant has to be all that is named.
type Permission struct {
	User    string   // name or number of a Unix user; on TCP, where the kernel vouches for nobody, it is never met
	Group   string   // name or number of a Unix group that the client's process is in; likewise
	Login   string   // the user name of CONNECT, which has shown its password; never met over HTTP
	Streams []string // names, in which * stands for any characters
}

// grant is a Permission with the numbers of its names.
type grant struct {
	Permission
	uid, gid uint32
}

// grants looks the names up.
func grants(permissions []Permission) ([]grant, error) {
	var all []grant
	var wrong []error
	for _, p := range permissions {
		uid, noUser := number(p.User, userID)
		gid, noGroup := number(p.Group, groupID)
		all = append(all, grant{Permission: p, uid: uid, gid: gid})
		wrong = append(wrong, noUser, noGroup)
	}
	return all, fault.AskOperator(errors.Join(wrong...), "correct telemetry.ingest.permissions, or make that user or group")
}

// nobody is the number that no user and no group has (chown(2) takes it for "leave it").
const nobody = ^uint32(0)

func number(name string, look func(string) (string, error)) (uint32, error) {
	if name == "" {
		return nobody, nil
	}
	id := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		if id, err = look(name); err != nil {
			return nobody, fmt.Errorf("permissions: %w", err)
		}
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nobody, fmt.Errorf("permissions: %w", err)
	}
	return uint32(n), nil
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// allowed reports whether p may write stream. Where there are no permissions, whoever may open the socket may.
func allowed(all []grant, p peer, stream string) bool {
	for _, g := range all {
		if !g.of(p) {
			continue
		}
		for _, pattern := range g.Streams {
			if like(pattern, stream) {
				return true
			}
		}
	}
	return len(all) == 0
}

func (g grant) of(p peer) bool {
	return (g.User == "" || p.known && g.uid == p.uid) && (g.Group == "" || p.known && p.in(g.gid)) &&
		(g.Login == "" || g.Login == p.name)
}

// like reports whether name is as pattern says, where * stands for any characters.
func like(pattern, name string) bool {
	star, mark := -1, 0
	at, i := 0, 0
	for i < len(name) {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			star, mark = at, i
			at++
		case at < len(pattern) && pattern[at] == name[i]:
			at++
			i++
		case star >= 0: // the last star stands for one character more
			mark++
			at, i = star+1, mark
		default:
			return false
		}
	}
	for at < len(pattern) && pattern[at] == '*' {
		at++
	}
	return at == len(pattern)
}
