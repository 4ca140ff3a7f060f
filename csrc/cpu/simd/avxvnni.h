#pragma once

#include "floats256.h"
#include "pairs_float.h"
#include "quads256_vnni.h"
