#!/bin/bash
# dracut module: the agent, the clevis pin and the key sockets in the initrd.

check() {
    require_binaries countersign-agent cryptsetup || return 1
    return 0
}

depends() {
    echo crypt network
    if [ -x /usr/bin/clevis-luks-unlock ] && dracut_module_included clevis 2> /dev/null; then
        echo clevis
    fi
}

installkernel() {
    # Whatever the build machine has: the image may boot elsewhere.
    hostonly='' instmods =drivers/virt/coco =drivers/char/tpm configfs dm_crypt dm_integrity virtio_net
}

install() {
    inst_multiple countersign-agent cryptsetup
    inst_multiple -o jose cat bash clevis clevis-decrypt clevis-decrypt-countersign
    inst_simple /etc/countersign/agent.toml
    # The broker's authority, which the settings name.
    local ca
    ca=$(sed -n 's/^broker_ca *= *"\(.*\)"/\1/p' "${dracutsysrootdir-}/etc/countersign/agent.toml")
    if [ -n "$ca" ]; then
        inst_simple "$ca"
    fi
    if dracut_module_included systemd; then
        inst_multiple -o "$systemdsystemunitdir"/countersign-unlock@.socket "$systemdsystemunitdir"/countersign-unlock@.service
        # The volumes whose sockets are enabled on this system.
        local wanted
        for wanted in "${dracutsysrootdir-}$systemdsystemconfdir"/systemd-cryptsetup@*.service.wants/countersign-unlock@*.socket; do
            if [ -L "$wanted" ]; then
                inst "${wanted#"${dracutsysrootdir-}"}"
            fi
        done
    fi
}
