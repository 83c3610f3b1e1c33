"""A cluster's certificates and kubeconfigs: a CA, and a certificate for each program."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from .shell import Word, run

DAYS = "30"  # validity; longer than any test run
CONFIG = """\
[req]
distinguished_name = subject
x509_extensions = extensions
[subject]
[extensions]
subjectKeyIdentifier = hash
"""
MASTERS = "/O=system:masters/CN="  # members have all permissions
CLIENTS = {  # the control plane's programs, with the names in the default RBAC rules of Kubernetes
    "admin": f"{MASTERS}admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
}


@dataclass(frozen=True)
class Pki:
    """The certificates in a directory. `server`: the API server's URL."""

    directory: Path
    server: str

    @property
    def authority(self) -> Path:
        """The certificate of the CA."""
        return self.directory / "ca.crt"

    def certificate(self, name: str) -> Path:
        """The certificate called `name`."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The private key called `name`."""
        return self.directory / f"{name}.key"

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of the program called `name`."""
        return self.directory / f"{name}.kubeconfig"

    def create(self, names: list[str]) -> None:
        """Creates the CA, the API server's certificates (for the DNS names and addresses in `names`), the key of
        service accounts, and a kubeconfig for each of CLIENTS."""
        self.directory.mkdir(mode=0o700)
        self._config.write_text(CONFIG)
        usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run([*self._request("ca", "/CN=modelferry-test"), *usage])
        self._sign("kube-apiserver", "/CN=kube-apiserver", names)
        self._sign("kubelet-client", f"{MASTERS}kube-apiserver-kubelet-client")
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key("service-account")])
        for name, subject in CLIENTS.items():
            self._sign(name, subject)
            self._write_kubeconfig(name)

    def add_node(self, node: str, address: str) -> None:
        """Creates a node's certificate (the kubelet uses it as server and client) and kubeconfig."""
        self._sign(node, f"/O=system:nodes/CN=system:node:{node}", [f"DNS:{node}", f"IP:{address}"])
        self._write_kubeconfig(node)

    @property
    def _config(self) -> Path:
        return self.directory / "openssl.cnf"

    def _request(self, name: str, subject: str) -> list[Word]:
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        output: list[Word] = ["-config", self._config, "-out", self.certificate(name), "-subj", subject, "-days", DAYS]
        return ["openssl", "req", "-x509", *algorithm, "-keyout", self.key(name), *output]

    def _sign(self, name: str, subject: str, alternative_names: list[str] | None = None) -> None:
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if alternative_names:
            extensions.append(f"subjectAltName={','.join(alternative_names)}")
        options = [word for extension in extensions for word in ("-addext", extension)]
        run([*self._request(name, subject), "-CA", self.authority, "-CAkey", self.key("ca"), *options])

    def _write_kubeconfig(self, name: str) -> None:
        cluster = {"server": self.server, "certificate-authority-data": _base64(self.authority)}
        user = {
            "client-certificate-data": _base64(self.certificate(name)),
            "client-key-data": _base64(self.key(name)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "modelferry-test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "modelferry-test", "context": {"cluster": "modelferry-test", "user": name}}],
            "current-context": "modelferry-test",
        }
        file = self.kubeconfig(name)
        file.touch(mode=0o600)
        file.write_text(json.dumps(config, indent=1))


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
