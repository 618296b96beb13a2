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

// LoadEnding loads the programs that end sockets of backends that are gone. The error is about
// what the kernel lacks (Linux before 6.5), or does not know.
func (m *Maps) LoadEnding() ([]*ebpf.Program, error) {
	spec, err := bpf.LoadSockEnd()
	if err != nil {
		return nil, err
	}
	coll, err := m.collect(spec, Settings{})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	var programs []*ebpf.Program
	for _, name := range bpf.EndingPrograms() {
		programs = append(programs, coll.DetachProgram(name))
	}
	return programs, nil
}
