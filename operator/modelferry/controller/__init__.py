"""The operator: observe -> plan (pure) -> apply -> report, level-triggered. Only `app` knows kopf.

One reconciliation of one artifact, in the order in which the modules are read::

    app              kopf: events only enqueue an artifact
    work_queue       which artifact is reconciled next; one reconciliation at a time each; backoff
    reconciler       the loop: observe, plan, apply, report
    observe          the observed state of the cluster, as the frozen `facts`
    plan             observed state -> actions and state of each copy; pure; made of the `steps`, in order
    apply            actions -> API calls
    artifact_status  observed state and plan -> the resource's status
    artifact_events  plan, last and new status -> Events
    children         the objects that we create, as pure functions of the artifact
"""
