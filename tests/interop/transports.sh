#!/bin/bash
# Every transport says the same: dig over UDP, TCP and HTTPS, kdig over UDP and TLS, each over IPv4 and, where there is one,
# IPv6, with a self-signed certificate made here. Also: a renewed certificate is taken without a restart.
#
# Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
need dig=bind9-dnsutils kdig=knot-dnsutils openssl=openssl
need_rollcall

port=$(free_port) tls_port=$(free_port) https_port=$(free_port)
addresses=(127.0.0.1)
# IPv6 is asked for only where loopback has it.
if $PYTHON -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then addresses+=(::1); fi

certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -addext "subjectAltName=DNS:ns1.lb.example,IP:127.0.0.1,IP:::1" \
        -keyout "$WORK/new-key.pem" -out "$WORK/new-cert.pem" 2>"$WORK/openssl.log"
    mv "$WORK/new-key.pem" "$WORK/key.pem"
    mv "$WORK/new-cert.pem" "$WORK/cert.pem"
}
certificate first

listen() { for address in "${addresses[@]}"; do case $address in *:*) printf '"[%s]:%s", ' "$address" "$1" ;; *) printf '"%s:%s", ' "$address" "$1" ;; esac; done; }
mkdir "$WORK/zones"
{
    cat <<'CONF'
zone = "lb.example"
[records]
"@"     = { NS = "ns1", MX = "10 mail" }
ns1     = { A = "192.0.2.53", AAAA = "2001:db8::53" }
alias   = { CNAME = "www" }
"*.dev" = { TXT = "wildcard" }
child   = { NS = "ns.child" }
"ns.child" = { A = "198.51.100.1" }
odd     = { TYPE65280 = '\# 4 0A000001' }
CONF
    printf 'big = { TXT = ['
    for n in $(seq 40); do printf '"%03d %0120d", ' "$n" 0; done
    printf '] }\n'
    cat <<'CONF'
[pools.web]
backends = [{ address = ["192.0.2.10", "2001:db8::10"] }]
[names]
www = "web"
CONF
} >"$WORK/zones/lb.example.toml"
cat >"$WORK/rollcall.toml" <<CONF
zones = "zones"
[listen]
dns   = [$(listen "$port")]
tls   = [$(listen "$tls_port")]
https = [$(listen "$https_port")]
[tls]
cert = "cert.pem"
key  = "key.pem"
CONF
background "$WORK/rollcall.log" "$ROLLCALL" serve --config "$WORK/rollcall.toml"
wait_for 10 rollcall answers 127.0.0.1 "$port" lb.example

questions=("www.lb.example A" "www.lb.example AAAA" "WWW.lb.EXAMPLE A" "alias.lb.example A" "lb.example SOA" "lb.example NS" "lb.example MX"
    "x.dev.lb.example TXT" "www.lb.example MX" "missing.lb.example A" "host.child.lb.example A" "odd.lb.example TYPE65280"
    "elsewhere.test A" "lb.example ANY" "child.lb.example DS")

# What a reply says, without what may differ from one query to the next: header, question, and records in any order.
said() { sed -nE 's/^;; ->>HEADER<<- (.*)(id: *[0-9]+)/\1/p; s/^;; flags: *([^;]*);.*/flags \1/pI; s/.*status: *([A-Z]+).*/\1/p; /^;; .*SECTION:/p; /^[^;]/p; /^;.*[[:space:]]IN[[:space:]]/p' | tr -s ' \t' ' ' | sed 's/ *$//' | sort; }
with_dig() { local address=$1; shift; dig "@$address" +time=3 +tries=2 +norecurse +nocookie +noall +comments +question +answer +authority +additional "$@" 2>&1 | said; }
with_kdig() { local address=$1; shift; kdig "@$address" +time=3 +norec +nopadding "$@" 2>&1 | said; }

for address in "${addresses[@]}"; do
    for question in "${questions[@]}"; do
        # shellcheck disable=SC2086  # name and type are two words
        {
            udp=$(with_dig $address -p $port +notcp +ignore $question)
            if [ -z "$udp" ]; then fail "$address $question: no answer over UDP"; continue; fi
            check "$address $question: TCP as UDP" "$udp" "$(with_dig $address -p $port +tcp $question)"
            # dig 9.18 writes an IPv6 literal into :authority without brackets, which h2 rightly resets: kdig alone, there.
            [ "$address" = ::1 ] || check "$address $question: HTTPS as UDP" "$udp" "$(with_dig $address -p $https_port +https $question)"
            udp=$(with_kdig $address -p $port +notcp $question)
            check "$address $question: HTTPS as UDP, by kdig" "$udp" "$(with_kdig $address -p $https_port +https $question)"
            check "$address $question: TLS as UDP" "$udp" "$(with_kdig $address -p $tls_port +tls $question)"
        }
    done
    check "$address: a large set is cut over UDP" 1 "$(dig @$address -p "$port" +ignore big.lb.example TXT | grep -c '^;; flags:.* tc')"
    check "$address: and whole over TCP" 40 "$(dig @$address -p "$port" +tcp +short big.lb.example TXT | wc -l)"
    check "$address: and whole over TLS" 40 "$(kdig @$address -p "$tls_port" +tls +short big.lb.example TXT | wc -l)"
    check "$address: and whole over HTTPS" 40 "$(kdig @$address -p "$https_port" +https +short big.lb.example TXT | wc -l)"
done

subject() { openssl s_client -connect "127.0.0.1:$tls_port" </dev/null 2>/dev/null | openssl x509 -noout -subject 2>/dev/null; }
check "the certificate" "subject=CN = first" "$(subject)"
certificate second
taken=no
for _ in $(seq 100); do
    if [ "$(subject)" = "subject=CN = second" ]; then taken=yes; break; fi
    sleep 0.1
done
check "a renewed certificate is taken" yes "$taken"
check "and TLS goes on" 192.0.2.10 "$(kdig @127.0.0.1 -p "$tls_port" +tls +short www.lb.example A)"
summary
