// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// The environment: how many connections are asked about, and what they are made of.
const (
	casesOf      = "FAIRLEAD_POLICY_CASES"
	seedOf       = "FAIRLEAD_POLICY_SEED"
	defaultCases = 100_000
)

func number(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: want a number: %v", name, err)
	}
	return n
}

// game is a run of one test's world.
func newGame(t *testing.T, services bool, salt uint64) *runner {
	t.Helper()
	seed := number(t, seedOf, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d repeats this run", seedOf, seed)
	r := newRunner(newPipeline(newWorld(t, services), newPlay(dice{rand.New(rand.NewPCG(seed, salt))})))
	t.Cleanup(r.close)
	r.sync()
	return r
}

const flowsARound = 400

// TestProgramsAgreeWithTheModel: after each change, what the attached programs make of packets,
// what the rows say, and what the engine explains, is what the objects say.
func TestProgramsAgreeWithTheModel(t *testing.T) {
	for salt, services := range []bool{false, true} {
		t.Run(fmt.Sprintf("services %v", services), func(t *testing.T) {
			r := newGame(t, services, uint64(salt))
			total := int(number(t, casesOf, defaultCases)) / 2
			var tally tally
			var running []flow
			for tally.cases < total {
				r.step()
				if len(r.live()) == 0 {
					continue
				}
				var flows []flow
				for range flowsARound {
					flows = append(flows, r.flow())
				}
				must(t, r.node.Do(func() error { return r.judgeAll(flows, &tally) }))
				running = r.judgeRunning(append(running, flows[:10]...), &tally)
				r.judgeRows(flows, &tally)
			}
			t.Log(tally)
			tally.balanced(t)
		})
	}
}

// step changes the cluster and brings that into force.
func (r *runner) step() {
	for range 1 + r.IntN(6) {
		r.change()
	}
	r.close()
	r.sync()
}

// judgeAll sends each flow's first packet, and the answers to what passes.
func (r *runner) judgeAll(flows []flow, y *tally) error {
	for _, f := range flows {
		got, err := r.passes(f, false)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		want := r.want(f)
		y.count(string(f.hook), want)
		if got != want {
			return fmt.Errorf("a packet passes: %v\n%s", got, r.story(f))
		}
		if !r.answerable(f) || !got && (r.services || !f.putOff()) {
			continue
		}
		back, err := r.passes(f, true)
		if err != nil {
			return fmt.Errorf("answer to %s: %w", f, err)
		}
		y.count("answers", got)
		if back != got {
			return fmt.Errorf("the answer passes: %v, what it answers: %v\n%s", back, got, r.story(f))
		}
	}
	return nil
}

// judgeRunning sends one more packet of flows that began before, of which policies may say
// something else by now. It returns those that are kept: the latest of pods that are there.
func (r *runner) judgeRunning(flows []flow, y *tally) (kept []flow) {
	r.t.Helper()
	const most = 200
	var still []flow
	for _, f := range flows {
		_, ok := r.here[f.slot]
		_, by := r.here[f.by]
		if ok && (by || f.hook != deferred) && f.Protocol == 17 {
			still = append(still, f)
		}
	}
	still = still[max(0, len(still)-most):]
	must(r.t, r.node.Do(func() error {
		for range min(len(still), 40) {
			f := pick(r.dice, still...)
			got, err := r.passes(f, false)
			if err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			want := r.want(f)
			y.count("running", want)
			if got != want {
				return fmt.Errorf("a packet of a running flow passes: %v\n%s", got, r.story(f))
			}
		}
		return nil
	}))
	return still
}

// judgeRows asks the rows and the engine about the pods at both ends of flows.
func (r *runner) judgeRows(flows []flow, y *tally) {
	r.t.Helper()
	for _, f := range flows {
		for _, end := range []struct {
			d    Direction
			q    datapath.PolicyQuery
			slot func() (int, bool)
		}{
			{Egress, datapath.PolicyQuery{Pod: f.Source, Peer: f.Dest, Direction: datapath.Egress, Protocol: f.Protocol, Port: f.Port}, func() (int, bool) { return r.slotOf(f.Source) }},
			{Ingress, datapath.PolicyQuery{Pod: f.Dest, Peer: f.Source, Direction: datapath.Ingress, Protocol: f.Protocol, Port: f.Port}, func() (int, bool) { return r.slotOf(f.Dest) }},
		} {
			slot, ok := end.slot()
			if !ok {
				continue
			}
			want := r.Judge(r.here[slot], end.d, f.Connection)
			y.count("rows", want.Allow)
			rows, err := r.dp.PolicyVerdict(context.Background(), end.q)
			must(r.t, err)
			why := ""
			if rows.Cause != 0 {
				cause, known := r.engine.Cause(rows.Cause)
				if !known {
					r.t.Fatalf("cause %x is unknown\n%s", rows.Cause, r.story(f))
				}
				why = cause.String()
			}
			if got := (Verdict{rows.Policed, rows.Allow, why}); got != want {
				r.t.Fatalf("%s: the rows say %+v, the model %+v\n%s", end.d, got, want, r.story(f))
			}
			x := r.engine.Explain(end.q)
			if got := (Verdict{x.Policed, x.Allow, x.Why}); got != want {
				r.t.Fatalf("%s: it is explained as %+v, the model says %+v\n%s", end.d, got, want, r.story(f))
			}
		}
	}
}

// tally counts cases: how many, and how many of them the model allows.
type tally struct {
	cases int
	by    map[string][2]int
	order []string
}

func (y *tally) count(what string, allowed bool) {
	if y.by == nil {
		y.by = map[string][2]int{}
	}
	if _, ok := y.by[what]; !ok {
		y.order = append(y.order, what)
	}
	n := y.by[what]
	n[0]++
	if allowed {
		n[1]++
	}
	y.by[what] = n
	y.cases++
}

// String is what was asked.
func (y tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cases", y.cases)
	for _, what := range y.order {
		fmt.Fprintf(&b, "; %s %d (%d allowed)", what, y.by[what][0], y.by[what][1])
	}
	return b.String()
}

// balanced fails when one answer is so rare that the other alone would do.
func (y tally) balanced(t *testing.T) {
	t.Helper()
	for what, n := range y.by {
		if what != string(toPod) && what != "answers" && n[0] > 1000 && (n[1]*100 < n[0] || (n[0]-n[1])*100 < n[0]) {
			t.Errorf("%s: %d of %d are allowed: the test hardly sees the others", what, n[1], n[0])
		}
	}
}
