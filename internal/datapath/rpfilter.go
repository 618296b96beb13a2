// SPDX-License-Identifier: Apache-2.0

package datapath

import "github.com/fairlead-io/fairlead/internal/datapath/sysctl"

// loosenUplink makes a strict check of source addresses on the uplink a loose one. While
// nodes change their routing one by one, a node sends natively what this one answers in
// the tunnel: a strict check drops what of it takes the host's stack. The rest goes past
// the stack, and no such check, in any case.
func (d *Datapath) loosenUplink(uplink string) error {
	const all, loose = "net/ipv4/conf/all/rp_filter", "2"
	own := "net/ipv4/conf/" + uplink + "/rp_filter"
	strict := false
	for _, name := range []string{all, own} { // the kernel takes the larger of both
		v, err := sysctl.Read(name)
		if err != nil {
			return err
		}
		if v == loose {
			return nil
		}
		strict = strict || v == "1"
	}
	if !strict {
		return nil
	}
	return d.sysctls.Set(own, loose)
}
