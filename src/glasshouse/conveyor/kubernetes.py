"""A build as a Kubernetes Job: the same driver on the same root file system, under the bounds that a cluster can set.

    image       the root as an image, by digest (`docker import` of `engine.write_layer`)
    input       `kubectl attach -i` sends the tree as tar to the standard input, which the driver waits for
    output      what the same call prints is the output directory as tar, to be hashed by whoever receives it

The manifest is JSON, which is YAML. A cluster's own settings decide two things that a manifest can only ask for: that a
network policy is enforced (no other isolation from the network exists in a pod), and that a pod has user numbers of its
own. The number of processes is limited by the driver there, not by the pod. So a cluster is no executor of a rebuilder
here: what it gives is a build whose isolation its operator vouches for.
"""

from __future__ import annotations

import json
import re
from typing import Any

from glasshouse.conveyor.errors import InvalidInput
from glasshouse.conveyor.execution import SHARED_MEMORY_MIB, Job, driver_command
from glasshouse.conveyor.lock import Lock
from glasshouse.conveyor.recipe import Recipe
from glasshouse.conveyor.rootfs import HOST_NAME, UID
from glasshouse.conveyor.sandbox import FORK_MARGIN

# Until the input has come and the image is there, nothing of the build's own time has passed.
_WAITING_SECONDS = 900
_KEPT_SECONDS = 3_600
_BY_DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]{0,400}@sha256:[0-9a-f]{64}")
_WORK = "build"


def job_manifest(job: Job, recipe: Recipe, lock: Lock, image: str) -> bytes:
    """A List of a NetworkPolicy and a Job that runs `job` on `image`, as indented JSON.

    Raises `InvalidInput` unless the image is named by its digest.
    """
    if not _BY_DIGEST.fullmatch(image):
        raise InvalidInput("image", "must be named by its digest", "such as registry.example/root@sha256:…")
    name = f"glasshouse-{re.sub('[^a-z0-9]+', '-', recipe.product).strip('-')[:30]}-{lock.root.root.hex()[:10]}"
    labels = {"app.kubernetes.io/name": "glasshouse-build", "app.kubernetes.io/instance": name}
    metadata = {"name": name, "labels": labels}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        # No rule: nothing may come in or go out.
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"]},
    }
    batch = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"annotations": {"glasshouse.example/lock": lock.root.root.hex()}},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": job.bounds.timeout_seconds + _WAITING_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": _pod(job, image)},
        },
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, batch]}, indent=2).encode() + b"\n"


def _pod(job: Job, image: str) -> dict[str, Any]:
    confined = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": UID,
        "runAsUser": UID,
    }
    mounts = [{"name": _WORK, "mountPath": "/build"}]
    # A volume belongs to root; the driver expects a directory of its own.
    script = f"chown {UID}:{UID} /build && chmod 0755 /build"
    root = confined | {"capabilities": {"drop": ["ALL"], "add": ["CHOWN", "FOWNER"]}, "runAsGroup": 0, "runAsUser": 0}
    memory = f"{job.bounds.memory_mib + job.bounds.work_mib + SHARED_MEMORY_MIB}Mi"
    resources = {"limits": {"memory": memory}, "requests": {"memory": memory}}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostUsers": False,
        "hostname": HOST_NAME,
        "dnsPolicy": "None",
        # A server has to be named; none answers on the loopback of the pod.
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": _WORK, "emptyDir": {"medium": "Memory", "sizeLimit": f"{job.bounds.work_mib}Mi"}}],
        "initContainers": [
            {
                "name": "work-directory",
                "image": image,
                "command": ["/bin/sh", "-c", script],
                "resources": resources,
                "securityContext": root,
                "volumeMounts": mounts,
            }
        ],
        "containers": [
            {
                "name": _WORK,
                "image": image,
                "command": driver_command(job, job.bounds.processes + FORK_MARGIN),
                "stdin": True,
                "stdinOnce": True,
                "workingDir": "/build",
                "resources": resources,
                "securityContext": confined | {"runAsNonRoot": True},
                "volumeMounts": mounts,
            }
        ],
    }
