// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/lab/births"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// power keeps others, the supervisor and commands, from switching the same machine meanwhile. It ends
// with the process.
func (l *Lab) power(m plan.Machine) (release func(), err error) {
	path := filepath.Join(l.Plan.Dir, "power", m.Cable)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// gone says whether Cluster API has had a machine removed since the plan was read.
func (l *Lab) gone(m plan.Machine) (bool, error) {
	all, err := births.Load(l.Plan.Dir)
	if err != nil {
		return false, err
	}
	for _, c := range (plan.Plan{ID: l.Plan.ID, Dir: l.Plan.Dir, Cgroup: l.Plan.Cgroup}).With(all).Clusters {
		if slices.ContainsFunc(append(c.Nodes, c.ControlPlane), func(o plan.Machine) bool { return o.Name == m.Name && o.Cable == m.Cable }) {
			return false, nil
		}
	}
	return true, nil
}

// A machine whose power was taken away stays off until someone starts it: the supervisor, which boots
// what Cluster API wants, lets it be.
func switchedOff(m plan.Machine) bool {
	_, err := os.Stat(offMark(m))
	return err == nil
}

func mark(m plan.Machine) error {
	return os.WriteFile(offMark(m), nil, 0o644)
}

func unmark(m plan.Machine) error {
	if err := os.Remove(offMark(m)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func offMark(m plan.Machine) string { return filepath.Join(m.Dir, "off") }

// addBirths adds the clusters that Cluster API has made to the plan.
func (l *Lab) addBirths() error {
	all, err := births.Load(l.Plan.Dir)
	if err != nil {
		return err
	}
	l.Plan = l.Plan.With(all)
	return nil
}
