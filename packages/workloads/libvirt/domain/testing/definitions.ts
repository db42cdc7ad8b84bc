/** Definitions of machines, as an operator could have them. All files of the machines are below `/srv/original`. */

/**
 * A copy of what libvirt shows of a running machine that uses nearly all that a definition can name
 * of its host. libvirt 9 accepts it (`rewrite.test.ts`); its TPM only where swtpm is installed.
 */
export const FULL = String.raw`<!-- kept -->
<domain type='qemu' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web01</name>
  <uuid>6695eb01-f6a4-4304-99aa-97f2502e193f</uuid>
  <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
  <title>/web &amp; mail</title>
  <metadata>
    <app:machine xmlns:app='http://example.org/app' path='/srv/original'><![CDATA[a < b]]></app:machine>
  </metadata>
  <memory unit='MiB'>512</memory>
  <currentMemory unit='KiB'>262144</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <resource><partition>/machine</partition></resource>
  <sysinfo type='smbios'>
    <system><entry name='uuid'>6695eb01-f6a4-4304-99aa-97f2502e193f</entry><entry name='serial'>/7</entry></system>
  </sysinfo>
  <sysinfo type='fwcfg'><entry name='opt/org.example/a' file='/srv/original/ignition.json'/></sysinfo>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/web01_VARS.fd</nvram>
    <kernel>/srv/original/vmlinuz</kernel>
    <initrd>/srv/original/initrd</initrd>
    <cmdline>root=/dev/vda1 quiet</cmdline>
    <smbios mode='sysinfo'/>
    <acpi><table type='slic'>/srv/original/slic.dat</table></acpi>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum' check='none' migratable='on'/>
  <clock offset='utc'/>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'><metadata_cache><max_size unit='bytes'>1048576</max_size></metadata_cache></driver>
      <source file='/srv/original/vda.snap2.qcow2' index='3'><seclabel model='dac' relabel='no'/></source>
      <backingStore type='file' index='4'>
        <format type='qcow2'/>
        <source file='/srv/original/vda.snap1.qcow2'/>
        <backingStore type='block'><format type='raw'/><source dev='/dev/original/base'/><backingStore/></backingStore>
      </backingStore>
      <target dev='vda' bus='virtio'/>
      <serial>DISK-A</serial>
      <boot order='1'/>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='native'/>
      <source dev='/dev/original/data'/>
      <target dev='vdb' bus='virtio'/>
      <encryption format='luks'><secret type='passphrase' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></encryption>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <auth username='admin'><secret type='ceph' uuid='1a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></auth>
      <source protocol='rbd' name='pool/original'><host name='mon1' port='6789'/><host name='mon2'/></source>
      <target dev='sda' bus='scsi'/>
      <wwn>5000c50015ea71aa</wwn>
    </disk>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source pool='original' volume='vol1'/>
      <target dev='sdb' bus='scsi'/>
    </disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/original/shared.img'/><target dev='sdc' bus='scsi'/><shareable/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/original/ro.img'/><target dev='sdd' bus='scsi'/><readonly/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/original/transient.img'/><target dev='sde' bus='scsi'/><transient/></disk>
    <disk type='block' device='lun' rawio='yes'><driver name='qemu' type='raw'/><source dev='/dev/original/lun'/><target dev='sdf' bus='scsi'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/srv/original/install.iso'/><target dev='sdg' bus='scsi'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='sdh' bus='scsi'/><readonly/></disk>
    <disk type='nvme' device='disk'>
      <driver name='qemu' type='raw'/>
      <source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
      <target dev='vde' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <controller type='scsi' model='virtio-scsi' index='0'/>
    <controller type='virtio-serial' index='0'/>
    <filesystem type='mount' accessmode='passthrough'><driver type='path'/><source dir='/srv/original/share'/><target dir='share'/></filesystem>
    <interface type='network'>
      <mac address='52:54:00:aa:bb:cc'/>
      <source network='default' portid='5f1b3c0a-7d33-4c9b-9df6-000000000001' bridge='virbr0'/>
      <target dev='vnet3'/>
      <model type='virtio'/>
    </interface>
    <interface type='bridge'>
      <mac address='52:54:00:aa:bb:cd'/>
      <source bridge='br0'/>
      <virtualport type='openvswitch'><parameters interfaceid='7f1b3c0a-7d33-4c9b-9df6-000000000001'/></virtualport>
      <model type='e1000e'/>
    </interface>
    <interface type='hostdev' managed='yes'>
      <mac address='52:54:00:aa:bb:ce'/>
      <source><address type='pci' domain='0x0000' bus='0x04' slot='0x10' function='0x1'/></source>
    </interface>
    <serial type='file'>
      <source path='/srv/original/console.log' append='on'/>
      <target type='isa-serial' port='0'><model name='isa-serial'/></target>
      <log file='/srv/original/serial.log' append='off'/>
    </serial>
    <serial type='tcp'>
      <source mode='bind' host='127.0.0.1' service='4555'/><protocol type='telnet'/><target port='1'/>
    </serial>
    <console type='file'><source path='/srv/original/console.log'/><target type='serial' port='0'/></console>
    <channel type='unix'>
      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-7-web01/org.qemu.guest_agent.0'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
    <channel type='unix'><source mode='connect' path='/srv/original/program.sock'/><target type='virtio' name='org.example.program'/></channel>
    <channel type='file'><source path='/srv/original/port.log'/><target type='virtio' name='org.example.log'/></channel>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='2a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/></backend></tpm>
    <graphics type='vnc' port='5907' autoport='no' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/></source></hostdev>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <shmem name='shared-original'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
  </devices>
  <seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+64055</label></seclabel>
  <qemu:commandline>
    <qemu:arg value='-drive'/>
    <qemu:arg value='file=/srv/original/extra.img,if=none,id=extra'/>
  </qemu:commandline>
</domain>
`;

/** A machine with one disk of each sort, to be started: nothing in it needs the host. */
export function small(folder: string, name = 'small'): string {
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <cpu mode='maximum'/>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${folder}/a.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${folder}/b.raw'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>`;
}
