// SPDX-License-Identifier: Apache-2.0

package policyapi

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	api "sigs.k8s.io/network-policy-api/apis/v1beta1"
	confv1a1 "sigs.k8s.io/network-policy-api/conformance/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/config"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

var (
	kubeconfig = flag.String("cluster", "", "kubeconfig of the cluster to test")
	words      = flag.String("words", "", "run only the tests whose names hold these words")
	out        = flag.String("out", "", "folder for the report (report.yaml) and what became of each test (results.json)")
	version    = flag.String("version", "dev", "the version that the report names")
)

// requestTimeout is how long a connection may take before it counts as dropped. Each that has to be
// is tried twice.
const requestTimeout = time.Second

// result is what became of one test, as package conformance reads it.
type result struct {
	Text, State string
	Took        time.Duration
	Failure     string
}

// TestConformance runs upstream's tests with every feature that they know.
func TestConformance(t *testing.T) {
	if *kubeconfig == "" {
		t.Skip("no -cluster given: use test/conformance/cmd/conformance --set policy-api")
	}
	s, err := newSuite()
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	some := recorded(&results)
	if len(some) == 0 {
		t.Fatalf("no test of upstream has %q in its name", *words)
	}
	s.Setup(t)
	if err := s.Run(t, some); err != nil {
		t.Fatal(err)
	}
	report, err := s.Report()
	if err := errors.Join(err, write(report, results)); err != nil {
		t.Fatal(err)
	}
}

func newSuite() (*suite.ConformanceProfileTestSuite, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 100, 200
	scheme := runtime.NewScheme()
	err = errors.Join(clientscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), api.Install(scheme))
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return suite.NewConformanceProfileTestSuite(suite.ConformanceProfileOptions{
		Options: suite.Options{
			Client: c, ClientSet: set, KubeConfig: *cfg, CleanupBaseResources: true, EnableAllSupportedFeatures: true,
			TimeoutConfig: config.TimeoutConfig{RequestTimeout: requestTimeout},
		},
		Implementation:      confv1a1.Implementation{Organization: "fairlead-io", Project: "fairlead", URL: "https://github.com/fairlead-io/fairlead", Version: *version},
		ConformanceProfiles: sets.New(suite.CNPConformanceProfileName),
	})
}

// recorded are the chosen tests, each of which notes what becomes of it.
func recorded(results *[]result) []suite.ConformanceTest {
	var some []suite.ConformanceTest
	for _, one := range tests.ConformanceTests {
		if !strings.Contains(one.ShortName, *words) {
			continue
		}
		run := one.Test
		one.Test = func(t *testing.T, s *suite.ConformanceTestSuite) {
			began := time.Now()
			defer func() {
				r := result{Text: one.ShortName, State: "passed", Took: time.Since(began)}
				if t.Failed() {
					r.State, r.Failure = "failed", "see the log"
				}
				*results = append(*results, r)
			}()
			run(t, s)
		}
		some = append(some, one)
	}
	return some
}

func write(report *confv1a1.ConformanceReport, results []result) error {
	text, err := yaml.Marshal(report)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(results)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(*out, "report.yaml"), text, 0o644),
		os.WriteFile(filepath.Join(*out, "results.json"), raw, 0o644))
}
