"""`ratchet access`: who may ask the gateway, for a cluster."""

from typing import Annotated

import typer

from cli.output import JsonFlag, print_json, stderr, stdout
from ratchet.core.errors import SettingsError
from ratchet.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    access = typer.Typer(help="Who may ask the gateway: the settings RATCHET_ACCESS_* for a cluster.",
                         no_args_is_help=True)  # fmt: skip
    access.command("manifests")(manifests)
    app.add_typer(access, name="access", rich_help_panel="Stack")


def manifests(
    namespace: Annotated[str, typer.Option(help="Namespace of the gateway.")] = "kserve",
    gateway: Annotated[str, typer.Option(help="Name of its Gateway (Gateway API).")] = "kserve-ingress-gateway",
    selector: Annotated[
        str, typer.Option(metavar="LABEL=VALUE", help="Instead: a label of the pods of Istio's own ingress gateway.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Print the settings RATCHET_ACCESS_* as objects of Istio: RequestAuthentication, AuthorizationPolicy, EnvoyFilter.

    Example: ratchet access manifests --namespace istio-system --selector istio=ingressgateway | kubectl apply -f -
    """
    import yaml

    from embedded.gateway_access import check_access
    from ratchet.adapters.istio_access import IstioGateway, render_istio_access, unrendered_access

    label, equals, value = selector.partition("=")
    if selector and not (label and equals and value):
        raise SettingsError(f"--selector is {selector!r}; expected LABEL=VALUE, as in istio=ingressgateway.")
    settings = load_settings()
    check_access(settings)
    target = IstioGateway(namespace, name="" if selector else gateway, label=(label, value))
    for sentence in unrendered_access(settings):
        stderr.print(sentence, markup=False)
    objects = render_istio_access(settings, target)
    if as_json:
        print_json({"apiVersion": "v1", "kind": "List", "items": objects})  # as kubectl takes it
        return
    stdout.print(yaml.safe_dump_all(objects, sort_keys=False).rstrip(), markup=False, soft_wrap=True)
