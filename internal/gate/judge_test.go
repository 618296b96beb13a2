// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/probe"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// network is how packets fare in a story.
type network struct {
	loss  float64       // share of attempts
	delay time.Duration // of all
	// slow is a share of the attempts that take slowness more.
	slow     float64
	slowness time.Duration
	// stall is a second in which the machine does nothing for so long: whatever is sent
	// meanwhile waits for its end. 0: none.
	stall    int
	stalling time.Duration
}

// attempts of each probe in a second.
var attempts = []struct {
	probe string
	n     int
}{{"dns", 2}, {"peers", 100}, {"service", 5}}

// reports are what a node's probes say in some seconds.
func (n network) reports(random *rand.Rand, node string, seconds int) (out []probe.Report) {
	for s := range seconds {
		r := probe.Report{Node: node, From: noon.Add(time.Duration(s) * time.Second), To: noon.Add(time.Duration(s+1) * time.Second)}
		for _, a := range attempts {
			for peer := range 2 {
				sample := probe.Sample{Probe: a.probe, Peer: fmt.Sprintf("node %d", peer), Times: probe.Times{}}
				for range a.n / 2 {
					sample.Sent++
					if random.Float64() < n.loss {
						sample.Lost++
						continue
					}
					// As measured on a busy machine: most in 200 µs, one of a hundred in 5 ms.
					took := n.delay + time.Duration(200e3*math.Exp(random.NormFloat64()))
					if random.Float64() < n.slow {
						took += n.slowness
					}
					if s == n.stall && n.stalling > 0 && random.Float64() < n.stalling.Seconds() {
						took += time.Duration(random.Float64() * float64(n.stalling))
					}
					sample.Times.Add(took)
				}
				r.Samples = append(r.Samples, sample)
			}
		}
		out = append(out, r)
	}
	return out
}

func (n network) reading(random *rand.Rand, node string, seconds int) NodeReading {
	r := NodeReading{Node: node, Pod: "p-" + node, Ready: true, Known: noon, LastTo: noon.Add(time.Duration(seconds) * time.Second)}
	for _, one := range n.reports(random, node, seconds) {
		r.add(one)
	}
	return r
}

func TestJudge(t *testing.T) {
	healthy := network{}
	no := v1alpha1.GatesSpec{}
	budget := func(b v1alpha1.ProbeBudget) v1alpha1.GatesSpec {
		return v1alpha1.GatesSpec{Budgets: []v1alpha1.ProbeBudget{b}}
	}
	latency := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	for name, c := range map[string]struct {
		before *network
		gates  v1alpha1.GatesSpec
		now    network
		// caught and quiet bound how many of 200 windows of 10 s must be found, and may be.
		atLeast, atMost int
	}{
		"nothing is wrong":                           {&healthy, no, healthy, 0, 0},
		"nothing is wrong, nothing was known":        {nil, no, healthy, 0, 0},
		"2 % are lost":                               {&healthy, no, network{loss: 0.02}, 190, 200},
		"2 % are lost, nothing was known":            {nil, no, network{loss: 0.02}, 190, 200},
		"5 % are lost":                               {&healthy, no, network{loss: 0.05}, 200, 200},
		"0.2 % are lost, which is allowed":           {&healthy, no, network{loss: 0.002}, 0, 1},
		"1 % was always lost":                        {&network{loss: 0.01}, no, network{loss: 0.01}, 0, 0},
		"8 % were always lost":                       {&network{loss: 0.08}, no, network{loss: 0.08}, 0, 0},
		"1 % was always lost, and now 5 %":           {&network{loss: 0.01}, no, network{loss: 0.05}, 195, 200},
		"2 % are lost, 5 % are allowed":              {&healthy, budget(v1alpha1.ProbeBudget{Probe: "peers", Loss: "5%"}), network{loss: 0.02}, 0, 10},
		"2 % are lost, 0.5 % are allowed":            {&healthy, budget(v1alpha1.ProbeBudget{Probe: "peers", Loss: "0.5%"}), network{loss: 0.02}, 190, 200},
		"2 % are lost, 5 % of another probe":         {&healthy, budget(v1alpha1.ProbeBudget{Probe: "dns", Loss: "5%"}), network{loss: 0.02}, 190, 200},
		"2 % are lost, and nobody looks":             {&healthy, v1alpha1.GatesSpec{Probes: v1alpha1.ProbesDisabled}, network{loss: 0.02}, 0, 0},
		"the machine stalls for 300 ms":              {&healthy, no, network{stall: 4, stalling: 300 * time.Millisecond}, 0, 0},
		"the machine stalls, nothing was known":      {nil, no, network{stall: 4, stalling: 900 * time.Millisecond}, 0, 0},
		"everything takes 40 ms more":                {&healthy, no, network{delay: 40 * time.Millisecond}, 200, 200},
		"everything takes 5 ms more":                 {&healthy, no, network{delay: 5 * time.Millisecond}, 0, 0},
		"everything takes 40 ms more, 100 allowed":   {&healthy, budget(v1alpha1.ProbeBudget{Probe: "peers", Latency: latency(100 * time.Millisecond)}), network{delay: 40 * time.Millisecond}, 200, 200},
		"one of 20 takes 200 ms more":                {&healthy, no, network{slow: 0.05, slowness: 200 * time.Millisecond}, 195, 200},
		"everything always took 40 ms":               {&network{delay: 40 * time.Millisecond}, no, network{delay: 40 * time.Millisecond}, 0, 0},
		"everything takes 600 ms, nothing was known": {nil, no, network{delay: 600 * time.Millisecond}, 200, 200},
		"everything takes 300 ms, nothing was known": {nil, no, network{delay: 300 * time.Millisecond}, 0, 0},
		"nothing arrives":                            {&healthy, no, network{loss: 1}, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			random, found := rand.New(rand.NewPCG(7, 11)), 0
			for range 200 {
				var baseline []v1alpha1.Measurement
				if c.before != nil {
					baseline = Sum([]NodeReading{c.before.reading(random, "a", 10), c.before.reading(random, "b", 10), c.before.reading(random, "c", 10)})
				}
				readings := []NodeReading{network{}.reading(random, "a", 10), c.now.reading(random, "b", 10), network{}.reading(random, "c", 10)}
				if c.before != nil {
					readings[0], readings[2] = c.before.reading(random, "a", 10), c.before.reading(random, "c", 10)
				}
				v := Judge(baseline, readings, c.gates, noon.Add(11*time.Second))
				if v == nil {
					continue
				}
				if found++; v.Node == "b" && v.Reason != v1alpha1.ReasonProbeBreached {
					t.Errorf("the verdict is %+v", v)
				}
			}
			if found < c.atLeast || found > c.atMost {
				t.Errorf("found %d times of 200, want %d to %d", found, c.atLeast, c.atMost)
			}
		})
	}
}

// TestHowSoonLossIsFound: 2 % of 100 packets a second, looked at every second. The figures
// are in the package's promise to the design.
func TestHowSoonLossIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	baseline := Sum([]NodeReading{network{}.reading(random, "a", 10)})
	within := map[int]int{}
	for range 1000 {
		reports := network{loss: 0.02}.reports(random, "a", 20)
		r := NodeReading{Node: "a", Known: noon, LastTo: noon}
		for i, one := range reports {
			r.add(one)
			if Judge(baseline, []NodeReading{r}, v1alpha1.GatesSpec{}, noon) != nil {
				for s := i + 1; s <= 20; s++ {
					within[s]++
				}
				break
			}
		}
	}
	t.Logf("of 1000 found within 3 s: %d, 5 s: %d, 7 s: %d, 10 s: %d", within[3], within[5], within[7], within[10])
	if within[5] < 800 || within[10] < 980 {
		t.Errorf("found within 5 s: %d, want 800; within 10 s: %d, want 980", within[5], within[10])
	}
}

// TestTwoAreFew: of few attempts, two that are lost say nothing.
func TestTwoAreFew(t *testing.T) {
	for lost, breached := range map[int64]bool{2: false, 3: true} {
		r := NodeReading{Node: "x", LastTo: noon, Known: noon, Probes: []ProbeReading{{Probe: "dns", Sent: 20, Lost: lost, Times: probe.Times{90: 20 - lost}}}}
		if v := Judge(nil, []NodeReading{r}, v1alpha1.GatesSpec{}, noon); (v != nil) != breached {
			t.Errorf("%d of 20 lost: the verdict is %+v", lost, v)
		}
	}
}

func TestTheMessageSaysWhatWasMeasured(t *testing.T) {
	r := NodeReading{Node: "x", LastTo: noon, Known: noon}
	r.add(probe.Report{From: noon, To: noon.Add(time.Second), Samples: []probe.Sample{
		{Probe: "peers", Peer: "node y by IPv4", Sent: 740, Lost: 28, Times: probe.Times{90: 712}},
		{Probe: "peers", Peer: "node z by IPv4", Sent: 740, Lost: 3, Times: probe.Times{90: 737}},
	}})
	v := Judge([]v1alpha1.Measurement{{Probe: "peers", Sent: 4000}}, []NodeReading{r}, v1alpha1.GatesSpec{}, noon)
	want := "probe peers on node x: 31 of 1,480 attempts lost (2.09 %), allowed 0.5 % more than 0 % before; worst towards node y by IPv4 (3.78 %)"
	if v == nil || v.Message != want || v.Node != "x" || v.Probe != "peers" || v.Reason != v1alpha1.ReasonProbeBreached {
		t.Errorf("got %+v\nwant %s", v, want)
	}
}

func TestSilence(t *testing.T) {
	baseline := []v1alpha1.Measurement{{Probe: "peers", Sent: 1000}, {Probe: "dns", Sent: 20, Lost: 20}}
	for name, c := range map[string]struct {
		reading NodeReading
		now     time.Duration
		want    string
	}{
		"one that reports":                          {NodeReading{Known: noon, LastTo: noon.Add(time.Minute)}, 65 * time.Second, ""},
		"one that has reported nothing for 9 s":     {NodeReading{Known: noon, LastTo: noon.Add(time.Minute)}, 69 * time.Second, ""},
		"one that has reported nothing for 11 s":    {NodeReading{Known: noon, LastTo: noon.Add(time.Minute)}, 71 * time.Second, "nothing for 11s: nothing says why"},
		"one that nobody listened to for a while":   {NodeReading{Known: noon.Add(70 * time.Second), LastTo: noon}, 75 * time.Second, ""},
		"one that starts":                           {NodeReading{Known: noon, Why: "ContainerCreating"}, 50 * time.Second, ""},
		"one that does not start":                   {NodeReading{Known: noon, Why: "ImagePullBackOff: no such image"}, 61 * time.Second, "nothing for 1m1s: ImagePullBackOff: no such image"},
		"one that does not know the others":         {NodeReading{Known: noon, LastTo: noon.Add(time.Minute), Covered: 10 * time.Second}, 61 * time.Second, "probe peers on node n (pod p) has measured nothing for 10s"},
		"one that gets to know the others":          {NodeReading{Known: noon, LastTo: noon.Add(time.Minute), Covered: 10 * time.Second}, 59 * time.Second, ""},
		"one that has only begun to look for them":  {NodeReading{Known: noon, LastTo: noon, Covered: 5 * time.Second}, 0, ""},
		"one that knows the others, names are lost": {NodeReading{Known: noon, LastTo: noon, Covered: 10 * time.Second, Probes: []ProbeReading{{Probe: "peers", Sent: 9}}}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.reading.Node, c.reading.Pod = "n", "p"
			other := NodeReading{Node: "a", LastTo: noon.Add(time.Hour)}
			v := Judge(baseline, []NodeReading{other, c.reading}, v1alpha1.GatesSpec{}, noon.Add(c.now))
			switch {
			case v == nil && c.want == "":
			case v == nil || c.want == "" || !strings.Contains(v.Message, c.want) || v.Reason != v1alpha1.ReasonProbesNotRunning:
				t.Errorf("got %+v, want %q", v, c.want)
			}
		})
	}
	t.Run("what is not measured yet is named", func(t *testing.T) {
		all := []ProbeReading{{Probe: "dns", Sent: 5}, {Probe: "peers", Sent: 5}}
		a, b := NodeReading{Node: "a", Probes: all}, NodeReading{Node: "b", Probes: all[:1]}
		if got := Unmeasured(nil, []NodeReading{a, b}); got != "probe peers on node b has not measured anything yet" {
			t.Errorf("got %q", got)
		}
		if got := Unmeasured([]v1alpha1.Measurement{{Probe: "service", Sent: 9}}, []NodeReading{a, a}); !strings.HasPrefix(got, "probe service on node a") {
			t.Errorf("got %q", got)
		}
		if got := Unmeasured(baseline, []NodeReading{a, a}); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a node that is alone has nobody to send to", func(t *testing.T) {
		r := NodeReading{Node: "n", Known: noon, LastTo: noon, Covered: 10 * time.Second}
		if v := Judge(baseline, []NodeReading{r}, v1alpha1.GatesSpec{}, noon); v != nil {
			t.Errorf("got %+v", v)
		}
	})
}

// TestTheWorstIsTold: what a person reads first is what hurts.
func TestTheWorstIsTold(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	silent := NodeReading{Node: "a", Known: noon}
	v := Judge(nil, []NodeReading{silent, network{loss: 0.2}.reading(random, "b", 10), network{loss: 0.4}.reading(random, "c", 10)}, v1alpha1.GatesSpec{}, noon.Add(2*time.Minute))
	if v == nil || v.Node != "c" || v.Reason != v1alpha1.ReasonProbeBreached {
		t.Errorf("got %+v, want that node c loses packets", v)
	}
}

// TestTheOrderDoesNotMatter: reports come in any order, nodes too.
func TestTheOrderDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for range 50 {
		reports := network{loss: 0.03, slow: 0.02, slowness: time.Second / 10}.reports(random, "a", 10)
		read := func() (r NodeReading) {
			for _, one := range reports {
				r.add(one)
			}
			return r
		}
		want := read()
		random.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		for _, r := range reports {
			random.Shuffle(len(r.Samples), func(i, j int) { r.Samples[i], r.Samples[j] = r.Samples[j], r.Samples[i] })
		}
		if got := read(); !reflect.DeepEqual(got, want) {
			t.Fatalf("shuffled reports give\n%+v\nwant\n%+v", got, want)
		}
		nodes := []NodeReading{want, network{}.reading(random, "b", 10), network{loss: 0.1}.reading(random, "c", 3)}
		sum, verdict := Sum(nodes), Judge(nil, nodes, v1alpha1.GatesSpec{}, noon)
		random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		if got := Sum(nodes); !reflect.DeepEqual(got, sum) {
			t.Fatalf("shuffled nodes give %+v, want %+v", got, sum)
		}
		if got := Judge(nil, nodes, v1alpha1.GatesSpec{}, noon); !reflect.DeepEqual(got, verdict) {
			t.Fatalf("shuffled nodes are judged %+v, want %+v", got, verdict)
		}
	}
}

// TestChance: against the sum of the binomial's terms as school has it.
func TestChance(t *testing.T) {
	for _, c := range []struct {
		sent, lost int64
		share      float64
	}{{10, 1, 0.5}, {20, 3, 0.005}, {50, 50, 0.9}, {100, 2, 0.02}, {60, 30, 0.5}} {
		want := 0.0
		for k := c.lost; k <= c.sent; k++ {
			ways := 1.0
			for i := range k {
				ways *= float64(c.sent-i) / float64(i+1)
			}
			want += ways * math.Pow(c.share, float64(k)) * math.Pow(1-c.share, float64(c.sent-k))
		}
		if got := chance(c.sent, c.lost, c.share); math.Abs(got-want) > 1e-9 {
			t.Errorf("chance(%d, %d, %g) is %g, want %g", c.sent, c.lost, c.share, got, want)
		}
	}
	for _, c := range []struct {
		sent, lost int64
		share      float64
		want       float64
	}{{10, 0, 0.1, 1}, {10, 3, 0, 0}, {10, 10, 1, 1}, {1e9, 1e8, 0.2, 1}, {1e6, 9e5, 0.01, 0}, {5, 6, 0.5, 0}} {
		if got := chance(c.sent, c.lost, c.share); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("chance(%d, %d, %g) is %g, want %g", c.sent, c.lost, c.share, got, c.want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}
