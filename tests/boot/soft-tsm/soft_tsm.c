// SPDX-License-Identifier: GPL-2.0
/*
 * A provider of reports for the kernel's configfs-tsm, for tests: what the secure processor would sign is asked for over TCP from the machine that
 * runs the virtual machine. Everything above the hardware (configfs, generations, locking) is the kernel's own.
 *
 * Request: privilege level (u32), 64 bytes of report data. Answer: errno or 0 (u32), then length (u32) and bytes of the report, and of the certificate
 * table. Numbers are little endian.
 */
#include <linux/in.h>
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/tsm.h>
#include <linux/uio.h>
#include <net/net_namespace.h>
#include <net/sock.h>

/* Bounds what the other end can make this kernel allocate. */
#define BLOB_MAX SZ_64K

static char *host = "10.0.2.2";
module_param(host, charp, 0444);
MODULE_PARM_DESC(host, "IPv4 address of the processor");

static ushort port;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "TCP port of the processor");

struct request {
	__le32 privlevel;
	u8 report_data[TSM_INBLOB_MAX];
} __packed;

static int send_all(struct socket *socket, void *bytes, size_t length)
{
	struct msghdr message = {};
	struct kvec part = { bytes, length };
	int sent = kernel_sendmsg(socket, &message, &part, 1, length);

	if (sent < 0)
		return sent;
	return sent == length ? 0 : -EPIPE;
}

static int receive_all(struct socket *socket, void *bytes, size_t length)
{
	struct msghdr message = {};
	struct kvec part = { bytes, length };
	int received = kernel_recvmsg(socket, &message, &part, 1, length, MSG_WAITALL);

	if (received < 0)
		return received;
	return received == length ? 0 : -EPIPE;
}

static int receive_number(struct socket *socket, u32 *number)
{
	__le32 bytes;
	int error = receive_all(socket, &bytes, sizeof(bytes));

	*number = le32_to_cpu(bytes);
	return error;
}

/* The caller of report_new frees what a report holds, also after an error. */
static int receive_blob(struct socket *socket, u8 **blob, size_t *blob_length)
{
	u32 length;
	int error = receive_number(socket, &length);

	if (error || !length)
		return error;
	if (length > BLOB_MAX)
		return -EPROTO;
	*blob = kvzalloc(length, GFP_KERNEL);
	if (!*blob)
		return -ENOMEM;
	*blob_length = length;
	return receive_all(socket, *blob, length);
}

static int ask(struct socket *socket, struct tsm_report *report)
{
	struct request request = { .privlevel = cpu_to_le32(report->desc.privlevel) };
	u32 refused;
	int error;

	memcpy(request.report_data, report->desc.inblob, sizeof(request.report_data));
	error = send_all(socket, &request, sizeof(request));
	if (!error)
		error = receive_number(socket, &refused);
	if (!error && refused)
		error = refused < MAX_ERRNO ? -(int)refused : -EPROTO;
	if (!error)
		error = receive_blob(socket, &report->outblob, &report->outblob_len);
	if (!error)
		error = receive_blob(socket, &report->auxblob, &report->auxblob_len);
	return error;
}

static int report_new(struct tsm_report *report, void *data)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = in_aton(host) };
	struct socket *socket;
	int error;

	if (report->desc.inblob_len != TSM_INBLOB_MAX)
		return -EINVAL;
	error = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &socket);
	if (error)
		return error;
	error = kernel_connect(socket, (struct sockaddr *)&address, sizeof(address), 0);
	if (!error)
		error = ask(socket, report);
	sock_release(socket);
	return error;
}

static bool attribute_visible(int index)
{
	switch (index) {
	case TSM_REPORT_GENERATION:
	case TSM_REPORT_PROVIDER:
	case TSM_REPORT_PRIVLEVEL:
	case TSM_REPORT_PRIVLEVEL_FLOOR:
		return true;
	default:
		return false;
	}
}

static bool blob_visible(int index)
{
	switch (index) {
	case TSM_REPORT_INBLOB:
	case TSM_REPORT_OUTBLOB:
	case TSM_REPORT_AUXBLOB:
		return true;
	default:
		return false;
	}
}

static const struct tsm_ops operations = {
	.name = "sev_guest",
	.report_new = report_new,
	.report_attr_visible = attribute_visible,
	.report_bin_attr_visible = blob_visible,
};

static int __init soft_tsm_init(void)
{
	return tsm_register(&operations, NULL);
}

static void __exit soft_tsm_exit(void)
{
	tsm_unregister(&operations);
}

module_init(soft_tsm_init);
module_exit(soft_tsm_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Reports of a software processor, for tests");
