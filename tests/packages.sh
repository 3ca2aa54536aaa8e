# Sourced by tests/run-all and tools/demo: installs Debian packages that are missing, and only those.
# Packages that bring a service are kept from starting it by a policy-rc.d file that goes away again.

build_packages="build-essential gcc-12 g++-12 cmake ninja-build libfmt-dev libcli11-dev
  nlohmann-json3-dev libdw-dev libgtest-dev libgmock-dev libbenchmark-dev python3"
check_packages="clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev binutils gdb valgrind strace
  time git gawk jq perl lua5.4 sqlite3 redis-server redis-tools libjemalloc2 libmimalloc2.0"
demo_packages="redis-server redis-tools python3 libjemalloc2"

# as_root COMMAND...: runs it as root, by sudo if needed; 1 if that is not possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    return 1
  fi
}

# install_packages NAME...: fails with a message if something is missing and cannot be installed. A
# subshell, so that its trap takes the guard away on every way out.
install_packages() (
  set +e
  missing=()
  policy=/usr/sbin/policy-rc.d
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed ||
      missing+=("$name")
  done
  [ "${#missing[@]}" -eq 0 ] && exit 0
  echo "installing: ${missing[*]}"
  if ! as_root true; then
    echo "no root and no sudo; please install: ${missing[*]}" >&2
    exit 1
  fi
  if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root apt-get -qq update
  if ! as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null; then
    echo "cannot install packages here; please install: ${missing[*]}" >&2
    exit 1
  fi
)
