# demo test check fmt bench install. The first use sets up what is missing: packages of the distribution, then .venv
# with the versions of .constraints.txt. No service is started, nothing that is already there is replaced.

PYTHON ?= python3
PREFIX ?= /opt/uidsync
DESTDIR ?=

# Given as environment, the pins hold for what builds the package as well; newer pips read the second name for that.
PINNED := PIP_CONSTRAINT=.constraints.txt PIP_BUILD_CONSTRAINT=.constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Debian keeps servers in /usr/sbin, which is not on every user's PATH; the tests look there too.
export PATH := $(PATH):/usr/sbin

# Tests wait for others a third of the time: three at once keep two cores busy. In their order, the longest come first.
SIDE_BY_SIDE := --numprocesses=3 --dist=loadfile --no-loadscope-reorder

.PHONY: demo test soak check fmt bench install tools database

demo: .venv/.runtime
	@.venv/bin/uidsync demo

# Both are always judged: a line too long must not hide a test that fails, nor the other way round.
test: tools database
	@status=0; $(MAKE) --no-print-directory check || status=1; .venv/bin/pytest $(SIDE_BY_SIDE) || status=1; exit $$status

# The same properties and kills as in the tests, many more of them.
soak: tools database
	UIDSYNC_SOAK=1 .venv/bin/pytest --hypothesis-profile=soak tests/test_history.py tests/functional/test_kill.py \
	tests/functional/test_main_job.py

check: tools
	@status=0; .venv/bin/ruff check --quiet || status=1; .venv/bin/ruff format --check --quiet || status=1; \
	.venv/bin/mypy || status=1; exit $$status

fmt: tools
	@.venv/bin/ruff check --quiet --fix; .venv/bin/ruff format

bench: tools database
	@if ls tests/bench/bench_*.py >/dev/null 2>&1; \
	then .venv/bin/pytest -s -o python_files='bench_*.py' tests/bench; \
	else echo 'no benchmarks yet: tests/bench holds no bench_*.py'; fi

tools: .venv/.tools

.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,python3 python3-venv); }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: pyproject.toml .constraints.txt | .venv/bin/python
	@$(PINNED) .venv/bin/python $(PIP_INSTALL) -e .
	@touch $@

.venv/.tools: pyproject.toml .constraints.txt | .venv/bin/python
	@$(PINNED) .venv/bin/python $(PIP_INSTALL) -e '.[dev]'
	@touch $@ .venv/.runtime

# The tests start their own MariaDB from the bare binaries. UIDSYNC_TEST_MYSQL names another server.
database:
	@[ -n "$$UIDSYNC_TEST_MYSQL" ] || command -v mariadbd >/dev/null || command -v mysqld >/dev/null \
	|| { $(call apt,mariadb-server-core mariadb-client-core); }

# Quiet unless it fails. The package lists are fetched only when those at hand do not do; nothing is ever removed.
define apt
	if ! command -v apt-get >/dev/null; then echo 'please install: $(1)' >&2; exit 1; fi; \
	get="$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq"; \
	echo 'installing $(1)'; \
	add="$$get -o Dpkg::Use-Pty=0 install --yes --no-install-recommends --no-remove $(1)"; \
	$$add </dev/null >/dev/null 2>&1 || { $$get update && said=$$($$add </dev/null 2>&1) || { echo "$$said" >&2; exit 1; }; }
endef

# As root: a virtual environment of its own, a link on everybody's PATH, units, the system user, and a configuration
# and a place for secrets unless they are there. DESTDIR stages the files and leaves the running system alone.
install:
	@case "$$($(PYTHON) -c 'import sys; print(sys.base_prefix)')" in /root/*|/home/*) \
	echo 'the service cannot read this Python; name another: make install PYTHON=/usr/bin/python3' >&2; exit 1;; esac
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,python3 python3-venv); }
	@rm -rf build uidsync.egg-info
	@$(PYTHON) -m venv '$(DESTDIR)$(PREFIX)'
	@$(PINNED) '$(DESTDIR)$(PREFIX)/bin/python' $(PIP_INSTALL) .
	@rm -rf build uidsync.egg-info
	@install -d '$(DESTDIR)/usr/local/bin' '$(DESTDIR)/etc/uidsync'
	@ln -sfn '$(PREFIX)/bin/uidsync' '$(DESTDIR)/usr/local/bin/uidsync'
	@conf='$(DESTDIR)/etc/uidsync/uidsync.toml'; [ -e "$$conf" ] || { \
	'$(DESTDIR)$(PREFIX)/bin/python' -m uidsync config >"$$conf.new" && mv "$$conf.new" "$$conf"; }
	@install -d '$(DESTDIR)/etc/systemd/system' '$(DESTDIR)/etc/sysusers.d'
	@install -m 0644 $(wildcard systemd/*.service systemd/*.timer) '$(DESTDIR)/etc/systemd/system'
	@install -m 0644 systemd/uidsync.sysusers '$(DESTDIR)/etc/sysusers.d/uidsync.conf'
	@[ -n '$(DESTDIR)' ] || ! command -v systemd-sysusers >/dev/null || systemd-sysusers uidsync.conf
	@[ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
	@[ -d '$(DESTDIR)/etc/uidsync/credentials' ] || install -d -m 0750 '$(DESTDIR)/etc/uidsync/credentials'
	@! getent group uidsync >/dev/null || chgrp uidsync '$(DESTDIR)/etc/uidsync/credentials'
	@[ -n '$(DESTDIR)' ] || ! getent passwd uidsync >/dev/null || install -d -m 0750 -o uidsync -g uidsync /var/lib/uidsync
# A staged environment must not remember where it was staged.
	@[ -z '$(DESTDIR)' ] || grep -lIZ '$(DESTDIR)$(PREFIX)' '$(DESTDIR)$(PREFIX)'/bin/* '$(DESTDIR)$(PREFIX)/pyvenv.cfg' \
	| xargs -0 sed -i 's|$(DESTDIR)$(PREFIX)|$(PREFIX)|g'
