"""A picker is put together here: every part is made, told of the others, and started.

Order of starting: the metrics and health ports open (not ready), ext_proc opens, scraping starts, objects are followed,
and once the pool is known, and this replica leads, the picker is ready. What comes after is in `life`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from epp import __version__
from epp.api.pool import DEFAULT_NAMESPACE, PoolReconciler
from epp.config.scrape import Scheme
from epp.core import Controller
from epp.core.questions import Answer, Hashing, Inspector, Question, Topic
from epp.extproc.headers import Conformance, ControlHeaders
from epp.extproc.health import HealthServer
from epp.extproc.http2.guard import Tally
from epp.extproc.parsers import Parsers
from epp.extproc.request import ConversationSettings
from epp.extproc.tls import CertificateError, CertificateReload, ClientCaError, TlsSettings
from epp.extproc.transports.choice import make_transport
from epp.extproc.transports.transport import ServerSettings, TransportName
from epp.introspect.server import IntrospectionServer, IntrospectionSettings
from epp.modelserver.scraper import Scraper
from epp.observe.http import ObserveServer
from epp.observe.limiter import RateLimitedLog
from epp.observe.metrics import Build, Metrics, Sources
from epp.serve import garbage
from epp.serve.bookkeeping import Bookkeeping
from epp.serve.cluster import Cluster
from epp.serve.configuration import SEED, Configuration
from epp.serve.director import Director
from epp.serve.errors import StartError
from epp.serve.life import Alone, Life
from epp.serve.objects import Objects
from epp.serve.recording import recording
from epp.serve.reload import ConfigReload
from epp.serve.rewrites import Rewrites
from epp.serve.selected import pool_name as name_of_selected
from epp.serve.sources import FileSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from epp.config.model import EndpointPickerConfig
    from epp.config.runtime import Runtime
    from epp.config.scrape import ScrapeConfig
    from epp.core.events import Scraped
    from epp.core.statistics import Statistics
    from epp.extproc.transports.transport import Transport
    from epp.serve.recording import Recording
    from epp.serve.settings import ServeSettings
    from epp.serve.sources import Source

log = structlog.get_logger()


async def serve(settings: ServeSettings, config: EndpointPickerConfig) -> None:
    """Run a picker until it is told to stop. Raises `StartError`."""
    configuration = Configuration(settings, config)
    log.info(configuration.describe_gateway())
    say = log.info if settings.config_file is None and settings.config_text is None else log.warning
    for note in configuration.runtime.notes:
        say(note)
    for note in (*settings.notes, *configuration.warnings()):
        log.warning(note)
    async with contextlib.AsyncExitStack() as stack:
        running = await _start(settings, configuration, stack)
        garbage.settle()
        await running.life.run_until_stopped(running.objects)


class _Part(Protocol):
    """Something that listens."""

    async def start(self) -> None:
        """Listen. Raises OSError if the port can't be had."""


async def _start(
    settings: ServeSettings, configuration: Configuration, stack: contextlib.AsyncExitStack
) -> _Running:
    loop = asyncio.get_running_loop()
    runtime = configuration.runtime
    controller = Controller(runtime.policy, now=loop.time())
    witnesses = recording(settings, configuration, controller, now=loop.time(), warn=log.warning)
    stack.callback(witnesses.close)
    following = await _follow(settings, runtime, stack)
    objects, cluster = following.objects, following.cluster

    def scraped(event: Scraped) -> None:
        director.feed(event)

    def statistics() -> Statistics:
        return controller.statistics(loop.time())

    scraper = _scraper(settings, runtime, on_scraped=scraped)
    tally = Tally()
    metrics = Metrics(
        sources=Sources(
            pool_name=objects.pool_name,
            detector=lambda: controller.policy.capacity.name,
            statistics=statistics,
            scrape_failures=lambda: _failures(scraper),
            cluster=lambda: None if cluster is None else cluster.statistics(),
            connections=lambda: tally if settings.transport is TransportName.NATIVE else None,
            event_log=witnesses.log_statistics,
            shadows=witnesses.shadow_statistics,
        ),
        build=Build(commit=os.environ.get("EPP_COMMIT", ""), build_ref=__version__),
        clock=loop.time,
    )
    director = Director(
        controller,
        settings=configuration.for_director(),
        objective=objects.objective,
        declared_models=objects.declared_models,
        scrape_now=_ask_nobody if scraper is None else scraper.scrape_now,
        bookkeeping=Bookkeeping(metrics, RateLimitedLog(clock=loop.time), clock=loop.time),
        loop=loop,
        witness=witnesses if witnesses.is_wanted else None,
    )
    stack.callback(director.close)
    health = HealthServer(settings.grpc_health_port)
    rewrites = Rewrites(
        objects.rewriting,
        metrics=metrics,
        random=Random(SEED),  # noqa: S311 - shares of traffic are no secret
    )
    extproc = _extproc(settings, runtime, director=director, health=health, rewrites=rewrites, tally=tally)
    life = Life(
        settings,
        director=director,
        extproc=extproc,
        health=health,
        statistics=statistics,
        obstacles=(objects.why_not_ready, *(() if cluster is None else (cluster.why_not_leading,))),
        succession=Alone() if cluster is None else cluster,
    )
    ask = _inspector(settings, controller)
    observe = ObserveServer(
        metrics=metrics,
        statistics=statistics,
        why_not_ready=life.why_not_ready,
        port=settings.metrics_port,
        authorizer=cluster.authorize if cluster is not None and settings.metrics_endpoint_auth else None,
        ask=ask,
    )
    stack.enter_context(life.signals())
    parts: list[tuple[str, _Part, Callable[[], Awaitable[None]]]] = [
        ("--metrics-port", observe, observe.close),
        ("--grpc-health-port", health, health.stop),
        ("--grpc-port", extproc, extproc.stop),
    ]
    if settings.introspection_port:
        introspection = IntrospectionServer(
            ask, settings=IntrospectionSettings(port=settings.introspection_port)
        )
        parts.append(("--introspection-port", introspection, introspection.stop))
    for flag, part, close in parts:
        try:
            await part.start()
        except OSError as error:
            message = str(error)
            raise StartError(message if flag in message else f"{flag}: {message}") from error
        stack.push_async_callback(close)
    if scraper is not None:
        await scraper.start()
        stack.push_async_callback(scraper.close)
    if settings.config_file is not None:
        reload = _follow_configuration(settings.config_file, configuration, director, metrics, witnesses)
        stack.push_async_callback(reload.close)
    objects.connect(
        feed=director.feed, scraper=scraper, changed=life.readiness_may_have_changed, owners=cluster
    )
    if cluster is not None:
        cluster.attend(
            feed=director.feed,
            changed=life.readiness_may_have_changed,
            is_settled=lambda: objects.is_settled,
        )
    log.info(
        "serving",
        pool=objects.pool_name(),
        objects=following.described,
        grpc_port=extproc.port,
        health_port=health.port,
        metrics_port=observe.port,
        tls=settings.secure_serving,
        transport=settings.transport.value,
    )
    return _Running(life, objects)


class _Running(NamedTuple):
    """What the picker's life needs."""

    life: Life
    objects: Objects


class _Following(NamedTuple):
    """Where objects come from."""

    objects: Objects
    cluster: Cluster | None
    described: str


async def _follow(settings: ServeSettings, runtime: Runtime, stack: contextlib.AsyncExitStack) -> _Following:
    """What gives the objects: files, or a cluster."""
    if settings.objects is not None:
        namespace = settings.pool_namespace
        described = str(settings.objects)
    else:
        server = await Cluster.connect(settings)
        stack.push_async_callback(server.close)
        namespace = settings.pool_namespace or server.namespace or DEFAULT_NAMESPACE
        described = f"{server.host}, namespace {namespace}"
    name = settings.pool_name
    if settings.selected is not None:
        name = name_of_selected(os.environ)
    reconciler = PoolReconciler(pool_name=name, pool_namespace=namespace, pool_group=settings.pool_group)
    if settings.selected is not None:
        reconciler.upsert(
            settings.selected.as_pool(
                group=settings.pool_group, namespace=namespace or DEFAULT_NAMESPACE, name=name or ""
            )
        )
    cluster: Cluster | None = None
    source: Source
    if settings.objects is not None:
        source = FileSource(settings.objects)
    else:
        source = cluster = Cluster(
            server,
            settings,
            namespace=namespace or DEFAULT_NAMESPACE,
            pool_name=name or "",
            reconciler=reconciler,
        )
    objects = Objects(source, reconciler, admits=runtime.admits, label=name or "")
    return _Following(objects, cluster, described)


def _follow_configuration(
    path: Path, configuration: Configuration, director: Director, metrics: Metrics, witnesses: Recording
) -> ConfigReload:
    def apply(runtime: Runtime, config: EndpointPickerConfig) -> None:
        configuration.adopt(runtime, config)
        for note in configuration.warnings():
            log.warning(note)
        witnesses.reloaded(configuration)
        director.adopt(configuration.for_director())

    reload = ConfigReload(
        path,
        configuration.config,
        rebuild=configuration.rebuild,
        apply=apply,
        outcome=lambda outcome: metrics.config_reloaded(outcome.value),
    )
    reload.start()
    return reload


def _inspector(settings: ServeSettings, controller: Controller) -> Callable[[Topic, Question], Answer]:
    """Who answers questions about the core."""
    clock = asyncio.get_running_loop().time
    hashing = Hashing.FORCED if settings.introspection_hash_flow_ids else Hashing.ON_REQUEST
    inspector = Inspector(controller, salt=secrets.token_bytes(16), hashing=hashing)

    def ask(topic: Topic, question: Question) -> Answer:
        return inspector.answer(topic, question, clock())

    return ask


def _failures(scraper: Scraper | None) -> Mapping[str, int]:
    if scraper is None:
        return {}
    return {kind.value: count for kind, count in scraper.statistics().failures.items()}


def _scraper(
    settings: ServeSettings, runtime: Runtime, *, on_scraped: Callable[[Scraped], None]
) -> Scraper | None:
    if runtime.scrape is None:
        return None
    return Scraper(
        config=_scrape_config(settings, runtime.scrape),
        on_scraped=on_scraped,
        clock=asyncio.get_running_loop().time,
        interval_s=settings.refresh_metrics_interval_s,
        seed=SEED,
    )


def _scrape_config(settings: ServeSettings, configured: ScrapeConfig) -> ScrapeConfig:
    """What upstream's deprecated flags say holds where the configuration says nothing else."""
    return replace(
        configured,
        scheme=Scheme(settings.metrics_scheme) if settings.metrics_scheme else configured.scheme,
        path=settings.metrics_path or configured.path,
        port=settings.metrics_port_override or configured.port,
        insecure_skip_verify=configured.insecure_skip_verify and settings.metrics_insecure_skip_verify,
    )


def _extproc(
    settings: ServeSettings,
    runtime: Runtime,
    *,
    director: Director,
    health: HealthServer,
    rewrites: Rewrites,
    tally: Tally,
) -> Transport:
    tls = None
    if settings.secure_serving:
        tls = TlsSettings(
            folder=settings.cert_path,
            reload=CertificateReload.ON if settings.enable_cert_reload else CertificateReload.OFF,
            client_ca=settings.client_ca_file,
        )
    try:
        return make_transport(
            settings.transport,
            director,
            conversation=ConversationSettings(
                parsers=Parsers(runtime.parsers),
                max_request_body_bytes=settings.max_request_body_bytes,
                control_headers=(
                    ControlHeaders.KEEP if settings.keep_control_headers else ControlHeaders.REMOVE
                ),
                target_model=rewrites.target_model,
                conformance=Conformance.ON if settings.conformance else Conformance.OFF,
            ),
            settings=ServerSettings(
                port=settings.grpc_port,
                max_receive_bytes=settings.max_receive_bytes,
                max_send_bytes=settings.max_send_bytes,
                port_sharing=settings.grpc_port_sharing,
            ),
            tls=tls,
            health=health.service,
            limits=settings.limits,
            tally=tally,
        )
    except ClientCaError as error:
        raise StartError(f"--client-ca-file: {error}") from error
    except CertificateError as error:
        raise StartError(f"--cert-path: {error}") from error


def _ask_nobody(key: tuple[str, str]) -> None:
    """Without scraping there is nobody to ask."""
    del key
