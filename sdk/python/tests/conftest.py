# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("contract")
from owner import Owner


@pytest.fixture(scope="session")
def owner() -> Iterator[Owner]:
    o = Owner()
    yield o
    o.close()
