// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/supervise"
)

// Status is what `lab status` shows; with -o json it is a stable interface for tests.
type Status struct {
	plan.Plan
	Supervisor  int               `json:"supervisor"`  // Process, 0 when it does not run.
	Running     map[string]int    `json:"running"`     // Machine -> process of its init, 0 when it does not run.
	Kubeconfigs map[string]string `json:"kubeconfigs"` // Cluster -> file.
	APIServers  map[string]string `json:"apiServers"`  // Cluster -> URL on this host.
	Bin         string            `json:"bin"`         // Folder with kubectl and the rest.
	Shared      string            `json:"shared"`      // Folder that machines see at /lab/shared.
	At          time.Time         `json:"at"`
}

// Status looks at the lab as it is.
func (l *Lab) Status() Status {
	s := Status{
		Plan: l.Plan, Supervisor: supervise.PID(l.Plan.Dir).Alive(), Bin: l.Builder.Bin(), Shared: l.Shared(), At: time.Now(),
		Running: map[string]int{}, Kubeconfigs: map[string]string{}, APIServers: map[string]string{},
	}
	for _, m := range l.Plan.Machines() {
		s.Running[m.Name] = node.InitPID(m.Dir).Alive()
	}
	ports, _ := supervise.LoadPorts(l.Plan.Dir) // None before the first start.
	for _, c := range l.Plan.Clusters {
		s.Kubeconfigs[c.Name] = l.Plan.Kubeconfig(c.Name)
		if port, ok := ports[c.Name]; ok {
			s.APIServers[c.Name] = fmt.Sprintf("https://127.0.0.1:%d", port)
		}
	}
	return s
}

// Print writes the status for people.
func (s Status) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "lab %s in %s, Kubernetes %s\n\n", s.ID, s.Dir, s.Kubernetes)
	fmt.Fprintln(w, "CLUSTER\tAPI SERVER HERE\tAPI SERVER IN THE LAB\tPODS\tSERVICES\tKUBECONFIG")
	for _, c := range s.Clusters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\t%s %s\t%s\n", c.Name, s.APIServers[c.Name], c.APIURL(),
			c.PodCIDRs[0], c.PodCIDRs[1], c.ServiceCIDRs[0], c.ServiceCIDRs[1], s.Kubeconfigs[c.Name])
	}
	fmt.Fprintln(w, "\nMACHINE\tRUNS\tIPV4\tIPV6\tLOGS")
	for _, m := range s.Machines() {
		runs := "no"
		if pid := s.Running[m.Name]; pid != 0 {
			runs = fmt.Sprintf("yes (%d)", pid)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, runs, m.IPv4, m.IPv6, m.Logs)
	}
	o := s.Outside
	fmt.Fprintf(w, "\noutside host\thttp://%s:%d  http://[%s]:%d\tudp %s:%d  [%s]:%d\n", o.IPv4, o.HTTPPort, o.IPv6, o.HTTPPort, o.IPv4, o.UDPPort, o.IPv6, o.UDPPort)
	if s.Supervisor == 0 {
		fmt.Fprintln(w, "the supervisor does not run, so the API servers are not reached from here: run `lab up`")
	}
	return w.Flush()
}
