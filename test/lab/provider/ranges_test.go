// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"strings"
	"testing"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

func TestBothFamilies(t *testing.T) {
	for _, tc := range []struct {
		name, blocks string
		want         string
		wantErr      string // Part of the message.
	}{
		{name: "IPv4 first", blocks: "10.64.0.0/16 fd00:64::/48", want: "[10.64.0.0/16 fd00:64::/48]"},
		{name: "IPv6 first", blocks: "fd00:64::/48 10.64.0.0/16", want: "[10.64.0.0/16 fd00:64::/48]"},
		{name: "host bits", blocks: "10.64.1.1/16 fd00:64::1/48", want: "[10.64.0.0/16 fd00:64::/48]"},
		{name: "none", wantErr: "0 ranges"},
		{name: "one family", blocks: "10.64.0.0/16", wantErr: "1 ranges"},
		{name: "one family twice", blocks: "10.64.0.0/16 10.65.0.0/16", wantErr: "of one family"},
		{name: "no range", blocks: "10.64.0.0 fd00:64::/48", wantErr: `"10.64.0.0" is no range`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := bothFamilies(clusterv1.NetworkRanges{CIDRBlocks: strings.Fields(tc.blocks)})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v does not say %q", err, tc.wantErr)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != tc.want {
				t.Errorf("%v, %v; want %s", got, err, tc.want)
			}
		})
	}
}
