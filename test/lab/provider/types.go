// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// The kinds' groups, all of version v1beta2.
const (
	infrastructureGroup = "infrastructure.cluster.x-k8s.io"
	bootstrapGroup      = "bootstrap.cluster.x-k8s.io"
	controlPlaneGroup   = "controlplane.cluster.x-k8s.io"
	kindVersion         = "v1beta2"
)

// object is a kind of this provider. What the API server says about its fields is in manifests/crds.yaml.
type object[Spec, Status any] struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec,omitempty"`
	Status            Status `json:"status,omitempty"`
}

type objects[Spec, Status any] struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []object[Spec, Status] `json:"items"`
}

type (
	labCluster      = object[clusterSpec, clusterStatus]
	labMachine      = object[machineSpec, machineStatus]
	labConfig       = object[configSpec, configStatus]
	labControlPlane = object[controlPlaneSpec, controlPlaneStatus]
)

type clusterSpec struct {
	ControlPlaneEndpoint endpoint `json:"controlPlaneEndpoint,omitzero"`
}

type endpoint struct {
	Host string `json:"host,omitempty"`
	Port int32  `json:"port,omitempty"`
}

type clusterStatus struct {
	Initialization provisioned        `json:"initialization,omitzero"`
	Conditions     []metav1.Condition `json:"conditions,omitempty"`
}

type provisioned struct {
	Provisioned bool `json:"provisioned,omitempty"`
}

type machineSpec struct {
	ProviderID string `json:"providerID,omitempty"`
	// NeverBoots has the machine stay away, for tests of an infrastructure that does not come up.
	NeverBoots bool `json:"neverBoots,omitempty"`
}

type machineStatus struct {
	Initialization provisioned                `json:"initialization,omitzero"`
	Addresses      []clusterv1.MachineAddress `json:"addresses,omitempty"`
	Conditions     []metav1.Condition         `json:"conditions,omitempty"`
}

type configSpec struct{}

type configStatus struct {
	DataSecretName string             `json:"dataSecretName,omitempty"`
	Initialization dataSecretCreated  `json:"initialization,omitzero"`
	Conditions     []metav1.Condition `json:"conditions,omitempty"`
}

type dataSecretCreated struct {
	DataSecretCreated bool `json:"dataSecretCreated,omitempty"`
}

type controlPlaneSpec struct {
	Version  string `json:"version,omitempty"`
	Replicas *int32 `json:"replicas,omitempty"`
}

type controlPlaneStatus struct {
	Initialization initialized `json:"initialization,omitzero"`
	// ExternalManagedControlPlane: there are no Machines of control planes.
	ExternalManagedControlPlane bool               `json:"externalManagedControlPlane,omitempty"`
	Version                     string             `json:"version,omitempty"`
	Replicas                    *int32             `json:"replicas,omitempty"`
	ReadyReplicas               *int32             `json:"readyReplicas,omitempty"`
	AvailableReplicas           *int32             `json:"availableReplicas,omitempty"`
	UpToDateReplicas            *int32             `json:"upToDateReplicas,omitempty"`
	Conditions                  []metav1.Condition `json:"conditions,omitempty"`
}

type initialized struct {
	ControlPlaneInitialized bool `json:"controlPlaneInitialized,omitempty"`
}

// register tells a scheme of the kinds that have a controller; templates have none.
func register(s *runtime.Scheme) {
	add(s, infrastructureGroup, "LabCluster", &labCluster{}, &objects[clusterSpec, clusterStatus]{})
	add(s, infrastructureGroup, "LabMachine", &labMachine{}, &objects[machineSpec, machineStatus]{})
	add(s, bootstrapGroup, "LabConfig", &labConfig{}, &objects[configSpec, configStatus]{})
	add(s, controlPlaneGroup, "LabControlPlane", &labControlPlane{}, &objects[controlPlaneSpec, controlPlaneStatus]{})
}

func add(s *runtime.Scheme, group, kind string, one, list runtime.Object) {
	gv := schema.GroupVersion{Group: group, Version: kindVersion}
	s.AddKnownTypeWithName(gv.WithKind(kind), one)
	s.AddKnownTypeWithName(gv.WithKind(kind+"List"), list)
	metav1.AddToGroupVersion(s, gv)
}

// DeepCopyObject makes a kind a runtime.Object.
func (o *object[Spec, Status]) DeepCopyObject() runtime.Object { return deepCopy(o) }

// DeepCopyObject makes a list a runtime.Object.
func (l *objects[Spec, Status]) DeepCopyObject() runtime.Object { return deepCopy(l) }

// deepCopy goes by JSON: these objects are few and small, and came as JSON.
func deepCopy[T any](from *T) *T {
	to := new(T)
	raw, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		panic(fmt.Sprintf("copying a %T: %v", from, err)) // Its fields are strings, numbers and times.
	}
	return to
}
