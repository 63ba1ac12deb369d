package attest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// verifyFile is what the command does with a file.
func verifyFile(b []byte, q attest.Question) error {
	e, err := attest.Parse(b)
	if err != nil {
		return err
	}
	_, err = attest.Verify(e, q)
	return err
}

// each calls do for the tree with one leaf changed in one way at a time, and puts the leaf back.
func each(node any, path string, set func(any), do func(what string)) {
	switch n := node.(type) {
	case map[string]any:
		for k, v := range n {
			each(v, path+"."+k, func(x any) { n[k] = x }, do)
			delete(n, k)
			do(path + "." + k + " left out")
			n[k] = v
		}
	case []any:
		for i, v := range n {
			each(v, fmt.Sprintf("%s[%d]", path, i), func(x any) { n[i] = x }, do)
			set(append(bytesOf(n[:i]), n[i+1:]...))
			do(fmt.Sprintf("%s[%d] taken out", path, i))
		}
		set(n)
	default:
		for what, x := range changes(n) {
			set(x)
			do(path + " " + what)
		}
		set(n)
	}
}

func bytesOf(n []any) []any { return append([]any(nil), n...) }

// changes are the ways to change a leaf: each byte, one more, one less, none.
func changes(leaf any) map[string]any {
	switch v := leaf.(type) {
	case bool:
		return map[string]any{"turned": !v}
	case float64:
		return map[string]any{"plus one": v + 1, "null": nil}
	case string:
		all := map[string]any{"empty": ""}
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(b) == 0 {
			all["longer"] = v + "x"
			return all
		}
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 1 << (i % 8)
			all[fmt.Sprintf("byte %d", i)] = base64.StdEncoding.EncodeToString(c)
		}
		all["longer"] = base64.StdEncoding.EncodeToString(append(bytes.Clone(b), 0))
		all["shorter"] = base64.StdEncoding.EncodeToString(b[:len(b)-1])
		return all
	}
	return nil
}

// wantEachChangeCaught changes the evidence in all ways, and counts them.
func wantEachChangeCaught(t *testing.T, e keys.Evidence, q attest.Question) {
	t.Helper()
	if err := verifyFile(encode(t, e), q); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(encode(t, e), &tree); err != nil {
		t.Fatal(err)
	}
	n := 0
	each(tree, "", func(any) {}, func(what string) {
		n++
		if verifyFile(encode(t, tree), q) == nil {
			t.Errorf("%s: not noticed", what)
		}
	})
	if n < 200 {
		t.Errorf("only %d changes were tried", n)
	}
	t.Logf("%d changes", n)
	wantEachCBORChangeCaught(t, attest.CBOR(e), q)
}

// wantEachCBORChangeCaught changes each byte of the file b, leaves it out and writes one before it.
func wantEachCBORChangeCaught(t *testing.T, b []byte, q attest.Question) {
	t.Helper()
	if err := verifyFile(b, q); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1 << (i % 8)
		for what, changed := range map[string][]byte{
			"changed":    flipped,
			"left out":   slices.Concat(b[:i], b[i+1:]),
			"one before": slices.Insert(bytes.Clone(b), i, byte(i)),
			"cut":        b[:i],
		} {
			if verifyFile(changed, q) == nil {
				t.Errorf("CBOR, byte %d of %d, %s: not noticed", i, len(b), what)
			}
		}
	}
}

func TestEachChangedByteOfTheEvidenceIsNoticed(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	f.endorse(p, nil)
	d := newDevice(t, p, keys.ECDSAP256)
	e := d.attest(key)
	proven := d.prove(e, attest.Question{Nonce: nonce, Roots: f.roots()})
	wantEachChangeCaught(t, e, proven)
	wantEachChangeCaught(t, e, attest.Question{Nonce: nonce}) // also where nobody looks at certificates
	for _, file := range []any{proven.Secret, proven.Answer} {
		wantEachAnswerChangeCaught(t, e, proven, file)
	}
}

func wantEachAnswerChangeCaught(t *testing.T, e keys.Evidence, q attest.Question, file any) {
	t.Helper()
	var tree any
	if err := json.Unmarshal(encode(t, file), &tree); err != nil {
		t.Fatal(err)
	}
	each(tree, "", func(any) {}, func(what string) {
		changed, b := q, encode(t, tree)
		var err error
		if _, secret := file.(*attest.Secret); secret {
			s, parseErr := attest.ParseSecret(b)
			changed.Secret, err = &s, parseErr
		} else {
			a, parseErr := attest.ParseAnswer(b)
			changed.Answer, err = &a, parseErr
		}
		if err != nil {
			return
		}
		if v, err := attest.Verify(e, changed); err == nil {
			t.Errorf("%T%s: not noticed, grade %s", file, what, v.Grade)
		}
	})
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	b := encode(t, newDevice(t, tpmtest.Start(t), keys.ECDSAP256).attest(key))
	q := attest.Question{Nonce: nonce}
	for n := range b {
		if verifyFile(b[:n], q) == nil {
			t.Errorf("the first %d of %d bytes pass", n, len(b))
		}
	}
	if verifyFile(append(bytes.Clone(b), b...), q) == nil || verifyFile(append(bytes.Clone(b), 'x'), q) == nil {
		t.Error("a file with something after its end passes")
	}
	if verifyFile(bytes.Replace(b, []byte(`{"version"`), []byte(`{"warranty":"void","version"`), 1), q) == nil {
		t.Error("a file with a field that nobody knows passes")
	}
}

func TestOldEvidenceIsRefused(t *testing.T) {
	e := newDevice(t, tpmtest.Start(t), keys.ECDSAP256).attest(key)
	wantRefused(t, e, attest.Question{Nonce: bytes.Repeat([]byte{7}, 32)}, "another nonce")
	replayed := clone(t, e)
	replayed.Nonce = bytes.Repeat([]byte{7}, 32)
	wantRefused(t, replayed, attest.Question{Nonce: replayed.Nonce}, "extraData")
	wantRefused(t, e, attest.Question{}, "nonce of 0 bytes")
}

func TestEvidenceOfOneKeyDoesNotServeAnother(t *testing.T) {
	d := newDevice(t, tpmtest.Start(t), keys.ECDSAP256)
	d.create("other")
	e, other := d.attest(key), d.attest("other")
	swapped := clone(t, e)
	swapped.PublicKey = other.PublicKey
	wantRefused(t, swapped, attest.Question{Nonce: nonce}, "another key")
	swapped.TPM.Public = other.TPM.Public
	wantRefused(t, swapped, attest.Question{Nonce: nonce}, "about another key")
}

func TestEndorsementOfAnotherGenuineTPMIsRefused(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	one, two := made(t, maker, keys.ECDSAP256), made(t, maker, keys.ECDSAP256)
	e, other := one.attest(key), two.attest(key)
	q := attest.Question{Nonce: nonce, Roots: pool(t, maker.Root(t), maker.Issuer(t))}
	foreign := clone(t, e)
	foreign.TPM.EK, foreign.TPM.EKChain = other.TPM.EK, other.TPM.EKChain
	wantRefused(t, foreign, q, "extraData")
	wantRefused(t, e, two.prove(other, q), "another attestation key")

	c, _, err := attest.Challenge(foreign, q.Roots, q.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*device{one, two} {
		if _, err := d.store.Answer(t.Context(), c); err == nil {
			t.Error("a challenge for two keys in two TPMs was answered")
		}
	}
}
