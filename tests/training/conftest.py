import jax
import pytest


@pytest.fixture(scope="session")
def compilations():
    """Calls to it return how many programs XLA has compiled (or fetched compiled) so far."""
    seen = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: len(seen)
