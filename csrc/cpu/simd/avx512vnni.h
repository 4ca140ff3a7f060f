#pragma once

#include "floats512.h"
#include "quads512_vnni.h"
