package main

import (
	"regexp"
	"testing"
)

// forms are the functions, as regular expressions say the same.
var forms = []struct {
	is      func(string) bool
	pattern *regexp.Regexp
}{
	{isDeviceID, regexp.MustCompile(`^[A-Za-z0-9\-._:]{0,63}[A-Za-z0-9\-]$`)},
	{isHostName, regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)},
	{isAPIVersion, regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)},
	{isIDScope, regexp.MustCompile(`^[A-Za-z0-9]+$`)},
	{isTCTI, regexp.MustCompile(`^(device:/.+|swtpm:path=.+|swtpm:(host=[^,]+,)?port=\d+)$`)},
	{isHandle, regexp.MustCompile(`^handle:0x81[0-9A-Fa-f]{6}$`)},
	{isPersistent, regexp.MustCompile(`^0x81[0-9A-Fa-f]{6}$`)},
	{isVariable, regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)},
}

func FuzzTheFormsOfValuesAreThoseOfTheirPatterns(f *testing.F) {
	long := "gateway-0042.of:the_line-gateway-0042.of:the-line-gateway-004212"
	for _, s := range []string{
		"", "gateway-0042", "gateway-0042.", ".x", "a:b", "ä", long[:63], long[:64], long + "x", long[:63] + ".", long[:63] + "x.",
		"global.azure-devices-provisioning.net", "a..b", "-a.b", "a-.b", "a.b-", "a.", "-", "under_score",
		"2021-06-01", "2021-06-01-preview", "2021-06-01-preview-preview", "2021-6-1", "2021-06-01 ", "2021_06-01", "-preview", "20210-6-01",
		"0ne00AB12", "0ne 1", "device:/dev/tpmrm0", "device:/", "device:/a\n", "device:", "swtpm:path=/x", "swtpm:path=", "swtpm:port=2321",
		"swtpm:host=h,port=1", "swtpm:host=,port=1", "swtpm:host=h,port=", "swtpm:host=h", "swtpm:host=port=1", "host=h,port=1", "port=1", "swtpm:port=x",
		"handle:0x81010001", "handle:0x8101000", "handle:0x81010001f", "0x81008000", "0x81AbCdEf", "0x8100800g", "0x80000000", "handle:",
		"A=b", "_a1=", "1a=b", "=b", "a b=c", "A", "A=\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, form := range forms {
			if got, want := form.is(s), form.pattern.MatchString(s); got != want {
				t.Errorf("%q is taken for %s: %t", s, form.pattern, got)
			}
		}
	})
}
