"""The files of a node: the configurations of its programs, and the script that mounts its file systems."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .cgroups import Group
from .network import Subnet
from .pki import Pki

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
CNI_PLUGINS = "/usr/lib/cni"  # where Debian's containernetworking-plugins puts them
DISK_MOUNT = "/var/lib/modelferry"

# The kubelet sets these for the entire machine, unless they have the expected values. A node sees files with these
# values in their place, so that the machine's settings do not change.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}

# Runs in the node's new mount namespace; $1: the node's directory, $2: its name. What a node's programs write under
# /var/lib and /var/log stays in that directory, and what they write under /run is gone after a reboot, as on a real
# machine.
INIT = f"""\
set -e
hostname "$2"
mount --make-rprivate /
for file in {" ".join(KUBELET_SYSCTLS)}; do
  [ ! -e "/proc/sys/$file" ] || mount --bind "$1/sysctl/$file" "/proc/sys/$file"
done
mount --bind "$1/var-lib" /var/lib
mount --bind "$1/var-log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mount -o loop "$1/disk.img" {DISK_MOUNT}
mount --make-rshared /  # as on a real machine; the kubelet requires it
exec sleep infinity
"""


@dataclass(frozen=True)
class NodeFiles:
    """The files in a node's directory."""

    directory: Path

    @property
    def containerd(self) -> Path:
        """containerd's configuration."""
        return self.directory / "containerd.toml"

    @property
    def kubelet(self) -> Path:
        """The kubelet's configuration."""
        return self.directory / "kubelet.json"

    @property
    def kube_proxy(self) -> Path:
        """kube-proxy's configuration."""
        return self.directory / "kube-proxy.json"

    @property
    def disk(self) -> Path:
        """The disk, as a file."""
        return self.directory / "disk.img"

    def write(self, name: str, index: int, subnet: Subnet, pki: Pki, group: Group) -> None:
        """Writes all but the disk, for the node `name`, the `index`-th of its cluster."""
        for directory in ("cni", "var-log", f"var-lib/{Path(DISK_MOUNT).name}"):
            (self.directory / directory).mkdir(parents=True, exist_ok=True)
        for setting, value in KUBELET_SYSCTLS.items():
            file = self.directory / "sysctl" / setting
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
        _write_json(self.directory / "cni" / "10-pods.conflist", _cni(str(subnet.pods(index))))
        self.containerd.write_text(_containerd(self.directory / "cni"))
        _write_json(self.kubelet, _kubelet(name, pki, group))
        _write_json(self.kube_proxy, _kube_proxy(name, str(subnet.network), pki))


def _write_json(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content, indent=1))


def _cni(pods: str) -> dict[str, object]:
    # ptp, not bridge: every packet of a pod is routed, so that a Service's address also works between two pods of one
    # node without the machine-wide setting that lets iptables see bridged packets.
    address = {
        "type": "host-local",
        "dataDir": "/run/cni/addresses",
        "ranges": [[{"subnet": pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipam": address},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}


def _containerd(cni: Path) -> str:
    return f"""\
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true  # for a machine whose root lacks CAP_SYS_RESOURCE

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{cni}"

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
"""


def _kubelet(name: str, pki: Pki, group: Group) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate(name)),
        "tlsPrivateKeyFile": str(pki.key(name)),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group.path}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # for a machine whose root lacks CAP_SYS_RESOURCE
        "makeIPTablesUtilChains": False,
        # The disk of the machine is shared: evict pods only if it is almost full, and never delete images.
        "evictionHard": {"nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        # Faster than the defaults, so that a stopped node becomes NotReady soon (see control_plane.NODE_GRACE_SECONDS).
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 12,
    }


def _kube_proxy(name: str, cluster_cidr: str, pki: Pki) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": name,
        "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
        "clusterCIDR": cluster_cidr,
        "conntrack": {"maxPerCore": 0},  # leaves the machine-wide limit alone
    }
