package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFault41DeadIPv6CostsAQuarterOfASecondOnce(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names = map[string][]string{"ip6": {host6}, "ip4": {host4}}
		n.dead, n.alive[host4] = []string{host6}, 50*time.Millisecond
		if a, tried, took := n.reach(t); a != host4 || took != headStart+50*time.Millisecond || len(tried) != 2 {
			t.Errorf("%s after %v, tried %v", a, took, tried)
		}
		if a, tried, took := n.reach(t); a != host4 || took != 50*time.Millisecond || len(tried) != 1 {
			t.Errorf("the next time: %s after %v, tried %v", a, took, tried)
		}
	})
}

func TestFault41NetworkOfIPv6AloneIsReached(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.alive[host6] = map[string][]string{"ip6": {host6}}, time.Second
		if a, _, took := n.reach(t); a != host6 || took != time.Second {
			t.Errorf("%s after %v", a, took)
		}
	})
}

func TestFault35AddressThatHangsIsGivenUpInBoundedTime(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.dead = map[string][]string{"ip4": {host4, other4}}, []string{host4, other4}
		_, tried, took, err := n.attempt(t)
		if err == nil || took != patience+headStart || len(tried) != 2 || !strings.Contains(err.Error(), "no answer within 15s") {
			t.Errorf("%v after %v, tried %v", err, took, tried)
		}
	})
}

func TestAddressThatRefusesIsFollowedByTheNextAtOnce(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.alive[other4] = map[string][]string{"ip4": {host4, other4}}, 0
		if a, _, took := n.reach(t); a != other4 || took != 0 {
			t.Errorf("%s after %v", a, took)
		}
		delete(n.alive, other4)
		if _, _, _, err := n.attempt(t); !errors.Is(err, n.refuse) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
	})
}

func TestLoserOfTheRaceIsClosed(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names = map[string][]string{"ip4": {host4, other4}}
		n.alive[host4], n.alive[other4] = headStart+time.Second, time.Second // both at the same moment
		n.reach(t)
	})
}

func TestFault40LastGoodAddressServesWhileTheResolverIsGone(t *testing.T) {
	for name, break_ := range map[string]func(n *network){
		"no such host": func(n *network) { n.names = nil },
		"no answer":    func(n *network) { n.dns = map[string]time.Duration{"ip4": -1, "ip6": -1} },
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.names, n.alive[host4] = map[string][]string{"ip4": {host4}}, 0
			n.reach(t)
			break_(n)
			if a, _, took := n.reach(t); a != host4 || took > hurried {
				t.Errorf("%s: %s after %v", name, a, took)
			}
		})
	}
}

func TestFault40ResolverThatIsGoneFromTheStartIsAnErrorInBoundedTime(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.dns = map[string]time.Duration{"ip4": -1, "ip6": -1}
		_, _, took, err := n.attempt(t)
		if lookup, ok := errors.AsType[*net.DNSError](err); !ok || !lookup.IsTimeout || took != resolving {
			t.Errorf("%v after %v", err, took)
		}
		n.dns = nil
		_, _, _, err = n.attempt(t)
		if lookup, ok := errors.AsType[*net.DNSError](err); !ok || !lookup.IsNotFound {
			t.Errorf("%v", err)
		}
	})
}

func TestFault40ResolverThatAnswersForOneFamilyAloneHoldsNothingUp(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.dns["ip6"], n.alive[host4] = map[string][]string{"ip4": {host4}}, -1, 0
		if a, _, took := n.reach(t); a != host4 || took != lag {
			t.Errorf("%s after %v", a, took)
		}
	})
}

func TestFault40AddressThatMovedIsFollowedAndTheOldOneIsTheLastResort(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.alive[host4] = map[string][]string{"ip4": {host4}}, 0
		n.reach(t)
		n.names["ip4"] = []string{other4}
		n.alive[other4] = 0
		if a, tried, _ := n.reach(t); a != other4 || len(tried) != 1 {
			t.Errorf("%s, tried %v", a, tried)
		}
		delete(n.alive, other4)
		if a, tried, _ := n.reach(t); a != host4 || tried[0] != other4 {
			t.Errorf("%s, tried %v", a, tried)
		}
	})
}

func TestFault40ResolverThatLiesDoesNotHideTheAddressThatWasGood(t *testing.T) {
	const liar = "198.51.100.1"
	inNetwork(t, func(t *testing.T, n *network) {
		n.names, n.alive[host4] = map[string][]string{"ip4": {host4}}, 0
		n.reach(t)
		n.names["ip4"], n.alive[liar] = []string{liar}, 0
		c, _, _, err := n.attempt(t)
		if err != nil {
			t.Fatal(err)
		}
		c.(interface{ Distrust() }).Distrust() // TLS has found another name there
		c.Close()
		if a, _, _ := n.reach(t); a != host4 {
			t.Errorf("%s", a)
		}
		delete(n.alive, host4)
		if a, _, _ := n.reach(t); a != liar {
			t.Errorf("%s: the last resort was not tried", a)
		}
	})
}

func TestCancelEndsTheDialInEveryPhase(t *testing.T) {
	for name, hang := range map[string]func(n *network){
		"lookup":  func(n *network) { n.dns = map[string]time.Duration{"ip4": -1, "ip6": -1} },
		"connect": func(n *network) { n.dead = []string{host4} },
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.names = map[string][]string{"ip4": {host4}}
			hang(n)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			if _, err := n.dial(ctx, "tcp", "hub:8883"); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
		})
	}
}

func TestAtMostFourAddressesOfAHostAreRemembered(t *testing.T) {
	h := &host{}
	for i := range 9 {
		h.worked(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if got := h.order(nil); len(got) != enough || got[0] != netip.MustParseAddr("192.0.2.8") {
		t.Errorf("%v", got)
	}
}

func TestFamiliesTakeTurns(t *testing.T) {
	parse := netip.MustParseAddr
	got := interleave([]netip.Addr{parse("2001:db8::1"), parse("2001:db8::2"), parse("::ffff:192.0.2.1"), parse("192.0.2.2"), parse("192.0.2.3")})
	want := []netip.Addr{parse("2001:db8::1"), parse("192.0.2.1"), parse("2001:db8::2"), parse("192.0.2.2"), parse("192.0.2.3")}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestSocketOfTheSystemIsReachedByNameAndByAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, name := range []string{"localhost", "127.0.0.1"} {
		c, err := Dialer()(t.Context(), "tcp", net.JoinHostPort(name, port))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, ok := c.(syscall.Conn); !ok {
			t.Errorf("%s: no options can be set on a %T", name, c)
		}
		c.Close()
	}
}
