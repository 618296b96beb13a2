// SPDX-License-Identifier: Apache-2.0

package load

import (
	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// AtSockets returns a program at sockets by its name, nil when Services are not translated.
func (p *Programs) AtSockets(name string) *ebpf.Program { return p.sockets[name] }

func (m *Maps) loadSockets(p *Programs, s Settings) error {
	spec, err := bpf.LoadSock()
	if err != nil {
		return err
	}
	coll, err := m.collect(spec, s)
	if err != nil {
		return err
	}
	defer coll.Close()
	p.sockets = map[string]*ebpf.Program{}
	for _, one := range bpf.SocketPrograms() {
		p.sockets[one.Name] = coll.DetachProgram(one.Name)
	}
	return nil
}
