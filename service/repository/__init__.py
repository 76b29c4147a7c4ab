"""The models on disk, and those that are loaded: found, checked, tried on their own example, and kept ready.

    models/<name>/<version>/{model.onnx, model.json}

It knows folders, manifests and how a graph becomes a running model. It does not know HTTP, requests or the
rules of sessions; of those it knows only which graph a session is bound to.
"""

from service.repository.apart import propose_apart
from service.repository.folders import (
    ModelFolders,
    StoredModel,
    check_folders,
    describe_faults,
    read_manifest,
)
from service.repository.load import Hardware, Loader, PreparedModel
from service.repository.model import Model
from service.repository.opening import SafeLoader
from service.repository.placing import copy_graph, place
from service.repository.policy import (
    Canary,
    Policies,
    Policy,
    change_policy,
    read_policy,
    write_policy,
)
from service.repository.proposal.options import Options
from service.repository.propose import Draft, needs_example, propose, recompute_example
from service.repository.reload import Reloader, Scan, Stopping, scan
from service.repository.repository import Repository
from service.repository.retained import RetainedCopies
from service.repository.retirement import Retirement
from service.repository.rollout import Rollout
from service.repository.steering import Steering
from service.repository.trial import Trials
from service.repository.tried import Tried

__all__ = [
    "Canary",
    "Draft",
    "Hardware",
    "Loader",
    "Model",
    "ModelFolders",
    "Options",
    "Policies",
    "Policy",
    "PreparedModel",
    "Reloader",
    "Repository",
    "RetainedCopies",
    "Retirement",
    "Rollout",
    "SafeLoader",
    "Scan",
    "Steering",
    "Stopping",
    "StoredModel",
    "Trials",
    "Tried",
    "change_policy",
    "check_folders",
    "copy_graph",
    "describe_faults",
    "needs_example",
    "place",
    "propose",
    "propose_apart",
    "read_manifest",
    "read_policy",
    "recompute_example",
    "scan",
    "write_policy",
]
