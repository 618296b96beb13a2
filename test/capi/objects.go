// SPDX-License-Identifier: Apache-2.0

package capi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Installation says what is installed, and where the API server reaches its webhooks.
type Installation struct {
	// Name is the provider's; the names of its webhook configurations begin with it.
	Name string
	// Config is the folder with its crd and webhook folders (Source.Config, or a copy of it).
	Config string
	// Webhooks is the base URL of its webhooks, such as https://127.0.0.1:9443. Without one, kinds
	// are served in their stored version only and nothing is defaulted or refused.
	Webhooks string
	// CA is the authority of the webhooks' certificate, PEM.
	CA []byte
}

// providerLabel is how Cluster API finds what belongs to a provider.
const providerLabel = "cluster.x-k8s.io/provider"

// Objects are the CRDs and the webhook configurations, CRDs first.
func (i Installation) Objects() ([]*unstructured.Unstructured, error) {
	crds, err := i.crds()
	if err != nil {
		return nil, err
	}
	hooks, err := i.webhooks()
	return append(crds, hooks...), err
}

func (i Installation) crds() ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(i.Config, "crd", "bases", "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no crd/bases: it is not the config folder of a provider", i.Config)
	}
	if err != nil {
		return nil, err
	}
	labels, err := i.contracts()
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, f := range files {
		crds, err := decode(f)
		if err != nil {
			return nil, err
		}
		for _, crd := range crds {
			crd.SetLabels(labels)
			if err := i.convert(crd); err != nil {
				return nil, fmt.Errorf("%s: %w", crd.GetName(), err)
			}
			out = append(out, crd)
		}
	}
	return out, nil
}

// contracts are the labels that kustomize gives a provider's CRDs. Those in bases lack them, and
// without them Cluster API does not know in which version to speak to a kind.
func (i Installation) contracts() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(i.Config, "crd", "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Labels []struct {
			Pairs map[string]string `json:"pairs"`
		} `json:"labels"`
	}
	if err := yaml.Unmarshal(raw, &kustomization); err != nil {
		return nil, fmt.Errorf("%s/crd/kustomization.yaml: %w", i.Config, err)
	}
	labels := map[string]string{providerLabel: i.Name}
	for _, l := range kustomization.Labels {
		for k, v := range l.Pairs {
			labels[k] = v
		}
	}
	return labels, nil
}

// convert has a CRD's versions be converted by the manager, where there is a patch for that.
func (i Installation) convert(crd *unstructured.Unstructured) error {
	if i.Webhooks == "" {
		return nil
	}
	plural, _, err := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(i.Config, "crd", "patches", "webhook_in_"+plural+".yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return unstructured.SetNestedMap(crd.Object, map[string]any{
		"strategy": "Webhook",
		"webhook":  map[string]any{"conversionReviewVersions": []any{"v1"}, "clientConfig": i.clientConfig("/convert")},
	}, "spec", "conversion")
}

func (i Installation) webhooks() ([]*unstructured.Unstructured, error) {
	if i.Webhooks == "" {
		return nil, nil
	}
	configurations, err := decode(filepath.Join(i.Config, "webhook", "manifests.yaml"))
	if err != nil {
		return nil, err
	}
	for _, c := range configurations {
		c.SetName(i.Name + "-" + c.GetName())
		c.SetLabels(map[string]string{providerLabel: i.Name})
		hooks, _, err := unstructured.NestedSlice(c.Object, "webhooks")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.GetName(), err)
		}
		for _, h := range hooks {
			hook, ok := h.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%s: a webhook is a %T", c.GetName(), h)
			}
			path, found, err := unstructured.NestedString(hook, "clientConfig", "service", "path")
			if err != nil || !found {
				return nil, fmt.Errorf("%s: the webhook %v has no path: %w", c.GetName(), hook["name"], err)
			}
			hook["clientConfig"] = i.clientConfig(path)
		}
		if err := unstructured.SetNestedSlice(c.Object, hooks, "webhooks"); err != nil {
			return nil, err
		}
	}
	return configurations, nil
}

func (i Installation) clientConfig(path string) map[string]any {
	return map[string]any{"url": i.Webhooks + path, "caBundle": base64.StdEncoding.EncodeToString(i.CA)}
}

// decode reads the objects of a file.
func decode(file string) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}
