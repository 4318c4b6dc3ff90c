# demo test check fmt docs bench install uninstall deb. The first use sets up what is missing: packages of the distribution, then .venv
# with the versions of .constraints.txt. No service is started, nothing that is already there is replaced.

# bash, for its braces.
SHELL := /bin/bash
PYTHON ?= python3
PREFIX ?= /opt/uidsync
DESTDIR ?=

# Given as environment, the pins hold for what builds the package as well; newer pips read the second name for that.
PINNED := PIP_CONSTRAINT=.constraints.txt PIP_BUILD_CONSTRAINT=.constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Where byte code is kept for nobody, each of a thousand commands would compile all of uidsync anew.
export PYTHONDONTWRITEBYTECODE :=
# Debian keeps servers in /usr/sbin, which is not on every user's PATH; the tests look there too.
export PATH := $(PATH):/usr/sbin

# Tests wait for others much of the time: four at once keep two cores busy. tests/conftest.py says which come first.
SIDE_BY_SIDE := --numprocesses=4 --dist=loadfile --no-loadscope-reorder

.PHONY: help demo test test-browser test-rules test-systemd soak check fmt docs bench install uninstall rights place alone account \
	environment deb tools database

# Each line that says what a target does begins with its name.
help:
	@printf '  make %-14s %s\n' \
	demo 'run the main job on loopback: sample events, two firewalls, an agent, a dead target' \
	test 'check the code and run every test; sets up what it needs' \
	check 'ruff and mypy' \
	fmt 'format the code, and correct what can be corrected' \
	docs 'regenerate what comes from the models and the commands' \
	soak 'run the random tests again, for much longer' \
	bench 'measure speed and memory, side by side with others' \
	test-browser 'open the status page in Chromium' \
	test-rules 'read the alert rules with promtool' \
	test-systemd 'install, start and reboot on a systemd of its own (root)' \
	install 'install into $(PREFIX) with units, as root' \
	uninstall 'remove what install put there; configuration and state stay' \
	deb 'build the Debian package'

demo: .venv/.runtime
	@.venv/bin/uidsync demo

# Both are always judged: a line too long must not hide a test that fails, nor the other way round.
test: tools database
	@status=0; $(MAKE) --no-print-directory check || status=1; .venv/bin/pytest $(SIDE_BY_SIDE) || status=1; exit $$status

# The same properties and kills as in the tests, many more of them.
soak: tools database
	UIDSYNC_SOAK=1 .venv/bin/pytest --hypothesis-profile=soak tests/test_history.py tests/test_tampering.py tests/plan/test_dispatch.py tests/reading/test_fullread.py \
	tests/functional/test_kill.py tests/functional/test_relay_kill.py tests/functional/test_main_job.py

# Root, on Debian: what is installed, started and rebooted, on a systemd that is PID 1 of a machine of its own. The machine,
# the database and the simulated firewall share a network of their own, where nothing else is.
test-systemd: tools database
	@.venv/bin/python tests/systemd/machine.py || exit 0; \
	tree=.cache/debian; [ -e $$tree.ready ] || { . /etc/os-release; rm -rf $$tree; mkdir -p .cache; echo "making $$tree"; \
	debootstrap --variant=minbase --include=systemd,systemd-sysv,python3,python3-venv,make,man-db \
	"$$VERSION_CODENAME" $$tree >$$tree.log 2>&1 && touch $$tree.ready || { tail $$tree.log; exit 1; }; } && \
	$(MAKE) --no-print-directory deb PYTHON=/usr/bin/python3 && \
	$(PINNED) .venv/bin/pip --quiet download --dest .cache/wheels setuptools '.[$(EXTRAS)]' && \
	UIDSYNC_SYSTEMD=1 unshare --net sh -c 'ip link set lo up; exec .venv/bin/pytest -v tests/systemd'

# What a browser makes of the status page. UIDSYNC_SCREENSHOTS names a folder for pictures.
test-browser: tools
	@command -v chromium >/dev/null || { $(call apt,chromium); }
	@UIDSYNC_BROWSER=1 .venv/bin/pytest -v tests/functional/test_exporter_browser.py

# What Prometheus makes of the alert rules. Its package is not installed, for that would start a server.
test-rules: tools .venv/bin/promtool
	@.venv/bin/pytest -v tests/integrations/test_exporter_shipped.py

.venv/bin/promtool: | .venv/bin/python
	@command -v promtool >/dev/null && ln -s "$$(command -v promtool)" $@ || { place=$$(mktemp -d) && (cd "$$place" && \
	apt-get -qq download prometheus && dpkg-deb -x prometheus_*.deb . && mv usr/bin/promtool '$(CURDIR)/$@'); rm -r "$$place"; [ -e $@ ]; }

check: tools
	@status=0; .venv/bin/ruff check --quiet || status=1; .venv/bin/ruff format --check --quiet || status=1; \
	.venv/bin/mypy || status=1; exit $$status

fmt: tools
	@.venv/bin/ruff check --quiet --fix; .venv/bin/ruff format

# What is generated from the models and the commands: uidsync.toml, its manual page, tables in README.md and docs/.
docs: tools
	@.venv/bin/python -m docs.generate

bench: tools database
	@if ls tests/bench/bench_*.py >/dev/null 2>&1; \
	then .venv/bin/pytest -s -o python_files='bench_*.py' tests/bench; \
	else echo 'no benchmarks yet: tests/bench holds no bench_*.py'; fi

tools: .venv/.tools

.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,python3 python3-venv); }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: pyproject.toml .constraints.txt | .venv/bin/python
	@$(PINNED) .venv/bin/python $(PIP_INSTALL) -e '.[exporter,relay]'
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

# What installs it. The places are those of software that an administrator builds; the Debian package has its own.
BIN ?= /usr/local/bin
SHARE ?= /usr/local/share
UNITS ?= /etc/systemd/system
SYSUSERS ?= /etc/sysusers.d
ZSH ?= $(SHARE)/zsh/site-functions
FISH ?= /etc/fish/completions
# The system's own Python unless another is named: the service cannot read one in somebody's home.
SYSTEM_PYTHON = $(if $(filter file,$(origin PYTHON)),/usr/bin/python3,$(PYTHON))
# Programs that are staged must not say where; a path from here would be left in their first lines.
ifneq ($(DESTDIR),)
override DESTDIR := $(if $(filter /%,$(firstword $(DESTDIR))),,$(CURDIR)/)$(DESTDIR)
endif
# The new environment is made beside the old one, whole, and takes its place in a moment.
NEW = $(DESTDIR)$(PREFIX).new
UNIT_FILES = $(notdir $(wildcard systemd/*.service systemd/*.timer))

# What is replaced or removed as a whole must be an installation: /usr/local or a checkout is not, whatever PREFIX says. Units and
# the first lines of programs hold no blanks.
place:
	@[[ '$(PREFIX)' =~ ^(/[[:alnum:]._+-]+)+$$ ]] || { \
	echo "PREFIX is '$(PREFIX)', not a path from the root, of letters, digits and ._+- alone" >&2; exit 1; }
	@here='$(DESTDIR)$(PREFIX)'; [ ! -e "$$here" ] || [ -z "$$(ls -A "$$here")" ] || \
	[[ -e "$$here/bin/uidsync" && -e "$$here/pyvenv.cfg" ]] || { \
	echo "$$here holds something else, and is left alone: PREFIX is a directory for uidsync alone, such as /opt/uidsync" >&2; exit 1; }

# To purge a package later, one that was removed too, would take away what this needs.
alone:
	@[ -n '$(DESTDIR)' ] || { there=$$(dpkg-query -W -f '$${db:Status-Status}' uidsync 2>/dev/null); \
	case "$$there" in '' | not-installed) ;; *) echo "the Debian package uidsync is there ($$there): first keep a copy of" \
	'/etc/uidsync and /var/lib/uidsync, then apt purge uidsync' >&2; exit 1;; esac; }

# What touches this system is for root. DESTDIR stages the files and leaves this system alone.
rights:
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" = 0 ] || { \
	echo 'make $(MAKECMDGOALS) needs root: sudo make $(MAKECMDGOALS); or name a place for the files: DESTDIR=somewhere' >&2; exit 1; }

# Before anything is replaced: without the account nothing that is installed would run.
account: rights place alone
	@[ -n '$(DESTDIR)' ] || { . systemd/install.sh; make_account '$(CURDIR)/systemd/uidsync.sysusers'; }

# Configuration, secrets and state that are there are kept.
install: rights place alone account environment
	@umask 022; install -d '$(DESTDIR)'{'$(BIN)','$(UNITS)','$(SYSUSERS)','$(ZSH)','$(FISH)',/etc/uidsync} \
	'$(DESTDIR)$(SHARE)'/{bash-completion/completions,man/man1,man/man5}
	@echo 'putting it into $(DESTDIR)$(PREFIX), and its units into $(DESTDIR)$(UNITS)'
	@set -e; umask 022; . systemd/runs.sh; [ -n '$(DESTDIR)' ] || { trap resume_runs EXIT; halt_runs; }; \
	rm -rf '$(DESTDIR)$(PREFIX).old'; \
	[ ! -e '$(DESTDIR)$(PREFIX)' ] || mv -T '$(DESTDIR)$(PREFIX)' '$(DESTDIR)$(PREFIX).old'; \
	mv -T '$(NEW)' '$(DESTDIR)$(PREFIX)'; rm -rf '$(DESTDIR)$(PREFIX).old'; \
	for unit in $(UNIT_FILES); do \
	sed 's|/opt/uidsync/|$(PREFIX)/|' "systemd/$$unit" >"$(DESTDIR)$(UNITS)/$$unit"; done
	@install -m 0644 systemd/uidsync.sysusers '$(DESTDIR)$(SYSUSERS)/uidsync.conf'
	@echo 'putting the command into $(DESTDIR)$(BIN), its manual page and completions into $(DESTDIR)$(SHARE)'
	@ln -sfn '$(PREFIX)/bin/uidsync' '$(DESTDIR)$(BIN)/uidsync'
	@install -m 0644 '$(DESTDIR)$(PREFIX)/share/uidsync.bash' '$(DESTDIR)$(SHARE)/bash-completion/completions/uidsync'
	@install -m 0644 '$(DESTDIR)$(PREFIX)/share/uidsync.zsh' '$(DESTDIR)$(ZSH)/_uidsync'
	@install -m 0644 '$(DESTDIR)$(PREFIX)/share/uidsync.fish' '$(DESTDIR)$(FISH)/uidsync.fish'
	@install -m 0644 '$(DESTDIR)$(PREFIX)/share/uidsync.1' '$(DESTDIR)$(SHARE)/man/man1/uidsync.1'
	@install -m 0644 docs/man/uidsync.toml.5 '$(DESTDIR)$(SHARE)/man/man5/uidsync.toml.5'
	@conf='$(DESTDIR)/etc/uidsync/uidsync.toml'; if [ -e "$$conf" ]; then echo "keeping $$conf"; \
	else echo "putting a configuration to fill in into $$conf"; install -m 0644 uidsync/uidsync.toml "$$conf"; fi
	@[ -n '$(DESTDIR)' ] || { group=$$(id -gn uidsync); umask 022; \
	place=/etc/uidsync/credentials; [ -d $$place ] || install -d -m 0750 $$place; \
	[ "$$(stat -c %G $$place)" != root ] || chgrp -h "$$group" $$place; \
	install -d -m 0750 -o uidsync -g "$$group" /var/lib/uidsync; }
	@[ -z '$(DESTDIR)' ] || echo 'this system is as it was: all of it is in $(DESTDIR)'
	@[ -n '$(DESTDIR)' ] || { . systemd/install.sh; tell_next_steps $(VERSION); }

# As root: all that install has put somewhere, but for configuration, secrets, state and the account.
uninstall: rights place
	@[ -n '$(DESTDIR)' ] || { . systemd/runs.sh; halt_runs; rm -f $$halted; [ ! -d /run/systemd/system ] || \
	for unit in $(UNIT_FILES); do \
	[ ! -e "$(UNITS)/$$unit" ] || systemctl --quiet disable --now "$$unit" 2>/dev/null || :; done; }
	@rm -f $(foreach unit,$(UNIT_FILES),'$(DESTDIR)$(UNITS)/$(unit)') '$(DESTDIR)$(SYSUSERS)/uidsync.conf' \
	'$(DESTDIR)$(SHARE)'/{bash-completion/completions/uidsync,man/man1/uidsync.1,man/man5/uidsync.toml.5} \
	'$(DESTDIR)$(ZSH)/_uidsync' '$(DESTDIR)$(FISH)/uidsync.fish'
	@[ "$$(readlink '$(DESTDIR)$(BIN)/uidsync')" != '$(PREFIX)/bin/uidsync' ] || rm '$(DESTDIR)$(BIN)/uidsync'
	@rm -rf '$(DESTDIR)$(PREFIX)' '$(NEW)'
	@[ ! -d /run/systemd/system ] || [ -n '$(DESTDIR)' ] || systemctl daemon-reload
	@echo 'kept: $(DESTDIR)/etc/uidsync, $(DESTDIR)/var/lib/uidsync and the account uidsync'

# All but the developers': who enables the exporter has what it needs.
EXTRAS = $(shell $(SYSTEM_PYTHON) -c 'import tomllib; print(*sorted(tomllib.load(open("pyproject.toml", "rb")) \
	["project"]["optional-dependencies"].keys() - {"dev"}), sep=",")' 2>/dev/null)

# Without pip, which nothing there calls. -P: its own modules are asked, not those of this folder.
environment: place
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo '$(SYSTEM_PYTHON) is older than Python 3.11; name another: make $(MAKECMDGOALS) PYTHON=/usr/bin/python3.11' >&2; exit 1; }
	@case "$$($(SYSTEM_PYTHON) -c 'import sys; print(sys.base_prefix)')" in /root/*|/home/*) \
	echo 'the service cannot read this Python; name another: make $(MAKECMDGOALS) PYTHON=/usr/bin/python3' >&2; exit 1;; esac
	@$(SYSTEM_PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,python3 python3-venv); }
	@echo "building the environment of $(PREFIX) for $(SYSTEM_PYTHON); this takes a minute"
	@rm -rf build uidsync.egg-info '$(NEW)'
	@umask 022; set -e; $(SYSTEM_PYTHON) -m venv '$(NEW)'; new='$(NEW)'; \
	$(PINNED) "$$new/bin/python" $(PIP_INSTALL) --no-compile ".[$(EXTRAS)]"; \
	rm -rf build uidsync.egg-info; \
	"$$new/bin/python" -m pip --quiet --disable-pip-version-check uninstall --yes setuptools pip; \
	install -d "$$new/share" "$$new/libexec"; \
	for shell in bash zsh fish; do _UIDSYNC_COMPLETE=source_$$shell "$$new/bin/python" -P -m uidsync \
	| sed '/./,$$!d' >"$$new/share/uidsync.$$shell"; done; \
	echo '[[ $$funcstack[1] != _uidsync ]] || _uidsync_completion "$$@"' >>"$$new/share/uidsync.zsh"; \
	install -m 0644 docs/man/uidsync.1 "$$new/share/uidsync.1"; \
	cp -R systemd/drop-ins "$$new/share"; \
	install -D -m 0644 -t "$$new/share/sql" sql/clienthist.sql sql/grants.sql sql/index.sql; \
	install systemd/tell-change "$$new/libexec"; \
	find "$$new" -name __pycache__ -prune -exec rm -rf {} +; rm -f "$$new"/bin/[Aa]ctivate*; \
	rm -f "$$new"/lib/python3*/site-packages/uidsync-*.dist-info/direct_url.json; \
	sed -i '/direct_url\.json/d' "$$new"/lib/python3*/site-packages/uidsync-*.dist-info/RECORD; \
	grep -lIZ "$$new" "$$new"/bin/* "$$new/pyvenv.cfg" | xargs -0 sed -i "s|$$new|$(PREFIX)|g"; \
	$(SYSTEM_PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s "$$new" -p '$(PREFIX)' "$$new/lib"

# Needs no root. The package holds the environment itself, for the Python and the architecture that it was made on.
STAGE = .cache/deb
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' uidsync/__init__.py)
ARCHITECTURE = $(shell dpkg --print-architecture)
DEB = dist/uidsync_$(VERSION)_$(ARCHITECTURE).deb

deb:
	@rm -rf $(STAGE)
	@umask 022; $(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(STAGE)' PREFIX=/opt/uidsync BIN=/usr/bin \
	SHARE=/usr/share UNITS=/lib/systemd/system SYSUSERS=/usr/lib/sysusers.d ZSH=/usr/share/zsh/vendor-completions \
	FISH=/usr/share/fish/vendor_completions.d
	@systemd/deb/build $(STAGE) $(VERSION) $(ARCHITECTURE) $(SYSTEM_PYTHON) $(DEB)
	@rm -rf $(STAGE)
	@echo $(DEB)
