"""The operator: observe -> plan (pure) -> apply -> report, level-triggered. kopf stands at the edge only (`app`).

One reconciliation of one artifact, in the order in which the modules are read::

    app         kopf: events are hints that wake the queue, nothing more
    queue       which artifact is looked at next; one at a time each; backoff
    reconciler  the loop: observe, plan, apply, report
    observe     the cluster as it stands, into the frozen `facts`
    plan        facts -> actions and status; pure; made of the `steps`, in order
    apply       actions -> API calls
    report      facts and plan -> the resource's status and Events
    children    the objects that we make, as pure functions of the artifact
"""
