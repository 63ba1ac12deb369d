// A PKCS#11 module that is SoftHSM but for one bad habit, chosen with -D when it is compiled.
//
//   FROM, TO    the habit shows in the FROM-th to the TO-th signature, counted across processes (all of them)
//   SEGFAULT    C_Sign dereferences NULL
//   HANG        C_Sign does not return
//   WRONG       C_Sign flips a bit of the signature
//   EMPTY       C_Sign succeeds and gives nothing
//   GLUTTON     C_Sign takes memory until there is none
//   FLOOD       C_Sign prints more than a pipe holds
//   SLOW=us     C_Sign takes so long
//   SALT        PSS with the largest salt, as old TPMs have it
//   NOPSS       there is no PSS
//   CODE, CURE  C_Sign returns CODE until: 1 a session is opened, 2 somebody logs in, 3 the module is initialized, 4 the
//               process is another one, 5 never
//   LEAK=n      closing a session does not free it, there are n, and every third signature needs a new one
//   MISCARRY    C_GenerateKeyPair makes the first key and dies
//   FORGET=n    the n-th search finds itself logged out
//   FORK        C_Initialize starts a process that stays
//   LOCK        the third wrong PIN locks the token
//   MUTE        C_Login does not return
//   CHATTY      every PIN is printed
//   LOOSE       keys say that they are extractable
//   FIXED       keys are neither made nor destroyed
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkcs11go.h"

#ifndef FROM
#define FROM 1
#endif
#ifndef TO
#define TO 1000000000
#endif

static CK_FUNCTION_LIST real, ours;

// tally adds to a number that outlives the process, and returns it.
static int tally(const char *name, int add) {
	char path[512];
	int n = 0;
	snprintf(path, sizeof path, "%s/%s", getenv("HOSTILE_DIR"), name);
	FILE *f = fopen(path, "r");
	if (f != NULL) {
		if (fscanf(f, "%d", &n) != 1)
			n = 0;
		fclose(f);
	}
	n += add;
	if (add != 0 && (f = fopen(path, "w")) != NULL) {
		fprintf(f, "%d", n);
		fclose(f);
	}
	return n;
}

static int broken, sessions, signatures;

static void cure(int by) {
#ifdef CURE
	if (by == CURE)
		broken = 0;
#endif
}

static CK_RV misbehave(void) {
#ifdef SEGFAULT
	*(volatile int *)0 = 0;
#endif
#ifdef HANG
	for (;;)
		pause();
#endif
#ifdef GLUTTON
	for (int i = 0; i < 4096; i++) {
		char *p = malloc(1 << 20);
		if (p == NULL)
			return CKR_HOST_MEMORY;
		memset(p, 1, 1 << 20);
	}
#endif
#ifdef FLOOD
	for (int i = 0; i < 20000; i++)
		fprintf(stderr, "this is line %d, and nobody asked for it\n", i);
#endif
#ifdef SLOW
	usleep(SLOW);
#endif
#ifdef CODE
	broken = 1;
#endif
	return CKR_OK;
}

static CK_RV sign(CK_SESSION_HANDLE s, CK_BYTE_PTR data, CK_ULONG n, CK_BYTE_PTR signature, CK_ULONG_PTR size) {
	if (signature == NULL)
		return real.C_Sign(s, data, n, signature, size);
	int nth = tally("signatures", 1), bad = nth >= FROM && nth <= TO;
	if (bad) {
		CK_RV rv = misbehave();
		if (rv != CKR_OK)
			return rv;
	}
	CK_RV rv = real.C_Sign(s, data, n, signature, size);
#ifdef CODE
	if (broken)
		return CODE;
#endif
#ifdef LEAK
	if (++signatures % 3 == 0)
		return CKR_SESSION_CLOSED;
#endif
#ifdef WRONG
	if (bad)
		signature[*size - 1] ^= 1;
#endif
#ifdef EMPTY
	if (bad)
		*size = 0;
#endif
	return rv;
}

static CK_RV sign_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key) {
	if (m->mechanism == CKM_RSA_PKCS_PSS) {
#ifdef SALT
		CK_RSA_PKCS_PSS_PARAMS p = *(CK_RSA_PKCS_PSS_PARAMS *)m->pParameter;
		p.sLen = 222; // 2048 bits less a SHA-256 and two bytes
		CK_MECHANISM largest = {CKM_RSA_PKCS_PSS, &p, sizeof p};
		return real.C_SignInit(s, &largest, key);
#endif
#ifdef NOPSS
		return CKR_MECHANISM_INVALID;
#endif
	}
	return real.C_SignInit(s, m, key);
}

static CK_RV initialize(CK_VOID_PTR args) {
	cure(3);
	sessions = 0;
#ifdef FORK
	if (fork() == 0)
		for (;;)
			pause();
#endif
	return real.C_Initialize(args);
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR app, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR s) {
	cure(1);
#ifdef LEAK
	if (++sessions > LEAK)
		return CKR_SESSION_COUNT;
#endif
	return real.C_OpenSession(slot, flags, app, notify, s);
}

static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG n) {
	tally("logins", 1);
#ifdef CHATTY
	fprintf(stderr, "login with %.*s\nin hex ", (int)n, pin);
	for (CK_ULONG i = 0; i < n; i++)
		fprintf(stderr, "%02x", pin[i]);
	fprintf(stderr, "\n%5000s%.*s\n", "padding", (int)n, pin);
	printf("and on stdout %.*s without an end", (int)n, pin);
	fflush(stdout);
#endif
#ifdef MUTE
	for (;;)
		pause();
#endif
#ifdef LOCK
	if (tally("wrong", 0) >= 3)
		return CKR_PIN_LOCKED;
#endif
	CK_RV rv = real.C_Login(s, user, pin, n);
#ifdef LOCK
	if (rv == CKR_PIN_INCORRECT)
		tally("wrong", 1);
#endif
	if (rv == CKR_OK)
		cure(2);
	return rv;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
	CK_RV rv = real.C_GetTokenInfo(slot, info);
#ifdef LOCK
	static const CK_FLAGS flags[] = {0, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED};
	int wrong = tally("wrong", 0);
	info->flags |= flags[wrong > 3 ? 3 : wrong];
#endif
	return rv;
}

static CK_RV attributes(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR a, CK_ULONG n) {
	CK_RV rv = real.C_GetAttributeValue(s, o, a, n);
#ifdef LOOSE
	for (CK_ULONG i = 0; i < n; i++)
		if (a[i].type == CKA_EXTRACTABLE && a[i].pValue != NULL)
			*(CK_BBOOL *)a[i].pValue = CK_TRUE;
#endif
	return rv;
}

static CK_RV generate(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR pub, CK_ULONG pubs, CK_ATTRIBUTE_PTR priv,
		CK_ULONG privs, CK_OBJECT_HANDLE_PTR p, CK_OBJECT_HANDLE_PTR q) {
#ifdef FIXED
	return CKR_FUNCTION_NOT_SUPPORTED;
#endif
	CK_RV rv = real.C_GenerateKeyPair(s, m, pub, pubs, priv, privs, p, q);
#ifdef MISCARRY
	if (tally("made", 1) == 1)
		abort();
#endif
	return rv;
}

static CK_RV find(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR a, CK_ULONG n) {
#ifdef FORGET
	if (tally("finds", 1) == FORGET)
		real.C_Logout(s);
#endif
	return real.C_FindObjectsInit(s, a, n);
}

static CK_RV destroy(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o) {
#ifdef FIXED
	return CKR_FUNCTION_NOT_SUPPORTED;
#endif
	return real.C_DestroyObject(s, o);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
	void *handle = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return CKR_GENERAL_ERROR;
	CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(handle, "C_GetFunctionList");
	CK_FUNCTION_LIST_PTR functions;
	CK_RV rv = get(&functions);
	if (rv != CKR_OK)
		return rv;
	real = ours = *functions;
	ours.C_Sign = sign;
	ours.C_SignInit = sign_init;
	ours.C_Initialize = initialize;
	ours.C_OpenSession = open_session;
	ours.C_Login = login;
	ours.C_GetTokenInfo = token_info;
	ours.C_GetAttributeValue = attributes;
	ours.C_GenerateKeyPair = generate;
	ours.C_FindObjectsInit = find;
	ours.C_DestroyObject = destroy;
	*list = &ours;
	return CKR_OK;
}
