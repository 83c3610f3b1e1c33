"""A cluster's control plane: etcd, API server, controller manager and scheduler, in the cluster's own namespace."""

from __future__ import annotations

import ssl
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from . import network
from .cgroups import Group
from .daemon import Daemon
from .network import SERVICES, Subnet
from .pki import Pki
from .shell import wait_until

PORT = 6443
ETCD = "http://127.0.0.1:2379"  # in the cluster's namespace, so not reachable from elsewhere
ISSUER = "https://kubernetes.default.svc"
NODE_GRACE_SECONDS = 16  # after this time without a heartbeat a node is NotReady; the default of 50 s would slow tests


@dataclass(frozen=True)
class ControlPlane:
    """The four programs. `netns`: the namespace that they run in; `data`: the cluster's directory."""

    netns: str
    subnet: Subnet
    data: Path
    group: Group
    binaries: Path
    pki: Pki
    _daemons: list[Daemon] = field(default_factory=list, repr=False)

    def start(self) -> None:
        """Starts the programs and returns when the API server is ready."""
        etcd = self._start("etcd", self._etcd())
        api_server = self._start("kube-apiserver", self._api_server())
        wait_until("the API server", lambda: self._ready(etcd, api_server), timeout=90)
        # After the API server: the controller manager exits if it finds none for 10 s.
        self._start("kube-controller-manager", self._controller_manager())
        self._start("kube-scheduler", self._scheduler())

    def reap(self) -> None:
        """Waits for the killed programs."""
        for daemon in self._daemons:
            daemon.reap()

    def _start(self, program: str, arguments: list[str]) -> Daemon:
        daemon = Daemon(self.group / program, self.data / "logs" / f"{program}.log")
        self._daemons.append(daemon)
        daemon.start([*network.inside(self.netns), self.binaries / program, *arguments])
        return daemon

    def _etcd(self) -> list[str]:
        # Without fsync: the cluster does not outlive the machine, and starts in half the time.
        urls = [f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}"]
        return [f"--data-dir={self.data / 'etcd'}", "--unsafe-no-fsync", *urls]

    def _api_server(self) -> list[str]:
        pki = self.pki
        return [
            f"--etcd-servers={ETCD}",
            f"--advertise-address={self.subnet.control_plane}",
            f"--secure-port={PORT}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--feature-gates=MutatingAdmissionPolicy=true",  # beta: an admission policy that changes pods, without a
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",  # webhook's server
            "--allow-privileged=true",
            f"--client-ca-file={pki.authority}",
            f"--tls-cert-file={pki.certificate('kube-apiserver')}",
            f"--tls-private-key-file={pki.key('kube-apiserver')}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={pki.key('service-account')}",
            f"--service-account-signing-key-file={pki.key('service-account')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={pki.authority}",
            f"--kubelet-client-certificate={pki.certificate('kubelet-client')}",
            f"--kubelet-client-key={pki.key('kubelet-client')}",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            f"--kubeconfig={self.pki.kubeconfig('kube-controller-manager')}",
            f"--root-ca-file={self.pki.authority}",
            f"--service-account-private-key-file={self.pki.key('service-account')}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
            "--bind-address=127.0.0.1",
            f"--flex-volume-plugin-dir={self.data}/flex-volumes",  # otherwise created outside the cluster's directory
        ]

    def _scheduler(self) -> list[str]:
        kubeconfig = self.pki.kubeconfig("kube-scheduler")
        return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1"]

    def _ready(self, etcd: Daemon, api_server: Daemon) -> bool:
        etcd.check()
        api_server.check()
        context = ssl.create_default_context(cafile=self.pki.authority)
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"{self.pki.server}/readyz", timeout=2) as response:
            return bool(response.status == 200)


def server_url(subnet: Subnet) -> str:
    """The URL of the API server."""
    return f"https://{subnet.control_plane}:{PORT}"


def server_names(subnet: Subnet) -> list[str]:
    """The names in the API server's certificate: its addresses, and its Service's address and names."""
    addresses = [f"IP:{subnet.control_plane}", "IP:127.0.0.1", f"IP:{SERVICES[1]}"]
    return [*addresses, "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
